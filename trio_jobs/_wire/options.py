"""The options of a job on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .._common.validate import TAG_NAME, TAG_VALUE, TAGS
from .._model.exclusive import Debounce
from .._model.job import Policy, Timeouts
from .._model.options import PriorityName
from .._model.retry import Retry

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=10**10)]
LONGEST_KEY: Final = 256
_TagName: TypeAlias = Annotated[str, Meta(max_length=TAG_NAME)]
_TagValue: TypeAlias = Annotated[str, Meta(max_length=TAG_VALUE)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A structure that refuses unknown fields."""


class TimeoutOptions(Strict, frozen=True):
    """`Timeouts`, in seconds."""

    run: Seconds | None = None
    queue: Seconds | None = None
    first_token: Seconds | None = None
    idle: Seconds | None = None


class RetryOptions(Strict, frozen=True):
    """`Retry` without `on`: the mark of the handler decides which errors are retried."""

    attempts: Annotated[int, Meta(ge=1, le=1000)] | None = 1
    initial: Seconds = 1.0
    factor: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    maximum: Seconds = 60.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5


class DebounceOptions(Strict, frozen=True):
    """`Debounce`, in seconds; `at_most` is at least `seconds`."""

    seconds: Seconds
    at_most: Seconds


class SubmitOptions(Strict, frozen=True):
    """The options of a job, as `submit` takes them."""

    timeout: Seconds | UnsetType | None = UNSET
    timeouts: TimeoutOptions | UnsetType = UNSET
    retry: RetryOptions | UnsetType = UNSET
    priority: PriorityName | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    run_at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    tags: Annotated[dict[_TagName, _TagValue], Meta(max_length=TAGS)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    key: Annotated[str, Meta(min_length=1, max_length=LONGEST_KEY)] | UnsetType | None = UNSET
    owner: Name | UnsetType | None = UNSET
    when_unread: Literal["continue", "pause", "cancel"] | UnsetType = UNSET
    linger: Seconds | UnsetType = UNSET
    exclusive: Name | UnsetType | None = UNSET
    on_busy: Policy | DebounceOptions | UnsetType = UNSET
    limit_key: Name | UnsetType | None = UNSET

    def given(self, retry: Retry) -> dict[str, Any]:
        """Return the options that were given, as `JobRegistry.submit` takes them.

        Args:
            retry: The handler's own, from which `on` is taken.

        Raises:
            ValueError: Two numbers contradict each other.
        """
        fields = msgspec.structs.asdict(self)
        found = {name: value for name, value in fields.items() if value is not UNSET}
        if isinstance(self.timeouts, TimeoutOptions):
            found["timeouts"] = Timeouts(**msgspec.structs.asdict(self.timeouts))
        if isinstance(self.retry, RetryOptions):
            found["retry"] = Retry(**msgspec.structs.asdict(self.retry), on=retry.on)
        if isinstance(self.on_busy, DebounceOptions):
            found["on_busy"] = Debounce(**msgspec.structs.asdict(self.on_busy))
        return found
