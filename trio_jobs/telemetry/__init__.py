"""Jobs as tools for watching programs see them; the rooms below know nothing of it.

gauges       what a registry is doing now, as Prometheus reads it
prometheus   counters and times of attempts besides; needs the extra `prometheus`
"""
