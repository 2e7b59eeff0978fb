"""Values and records as JSON, and back.

In the order in which they tell the story:

    lost        what a value would lose as JSON
    values      values as JSON
    keys        keys that a stranger chose to be slow
    arguments   a handler's arguments, with the types of its annotations
    stored      records as a durable store keeps them
    records     records as the wire and the command line say them
"""
