"""The registry: it runs a program's jobs under one nursery.

In the order in which they tell the story:

    filter     selecting jobs
    registry   where jobs are submitted, found and cancelled
    address    where jobs are kept
    gauges     what a registry is doing, in numbers
    opening    every task under one nursery, and the order in which they end
"""
