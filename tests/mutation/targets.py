"""The files that are mutated, those with dense rules, and their mirrored tests, which should fail."""

from __future__ import annotations

from typing import Final

TARGETS: Final[dict[str, tuple[str, ...]]] = {
    "trio_jobs/_common/states.py": ("tests/_common/test_states.py",),
    "trio_jobs/_json/lost.py": ("tests/_json/test_lost.py",),
    "trio_jobs/_model/retry.py": ("tests/_model/test_retry.py",),
    "trio_jobs/_running/deadlines.py": ("tests/_running/test_deadlines.py",),
    "trio_jobs/_watching/cursor.py": ("tests/_watching/test_cursor.py",),
    "trio_jobs/_watching/readers.py": ("tests/_watching/test_readers.py",),
    "trio_jobs/_watching/store_cursor.py": ("tests/_watching/test_store_cursor.py",),
    "trio_jobs/serving/access.py": ("tests/serving/test_access.py",),
    "trio_jobs/serving/websocket/session.py": ("tests/serving/websocket/test_session.py",),
    "trio_jobs/stores/exclusion.py": ("tests/stores/test_exclusion.py",),
    "trio_jobs/stores/_ended.py": ("tests/stores/test_ended.py",),
    "trio_jobs/stores/_lanes.py": ("tests/stores/test_lanes.py",),
    "trio_jobs/stores/log.py": ("tests/stores/test_log.py",),
    "trio_jobs/stores/_queue.py": ("tests/stores/test_queue.py",),
    "trio_jobs/stores/rates.py": ("tests/stores/test_rates.py",),
    "trio_jobs/stores/_roll.py": ("tests/stores/test_roll.py",),
    "trio_jobs/stores/rules.py": ("tests/stores/test_rules.py",),
}
