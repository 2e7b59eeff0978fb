"""Jobs as tools for watching programs see them; the rooms below know nothing of it.

    prometheus   counters and times of attempts, for Prometheus

Each module needs an extra of its name, and is imported by it.
"""
