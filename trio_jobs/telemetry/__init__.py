"""Jobs as tools for watching programs see them; no other room knows of it.

gauges           what a registry is doing now, as Prometheus reads it
prometheus       counters and times of attempts besides; needs the extra `prometheus`
opentelemetry    traces; needs the extra `otel`
"""
