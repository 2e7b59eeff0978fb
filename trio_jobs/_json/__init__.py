"""Turn values and records into JSON, and back.

In the order in which they tell the story:

    lost        whether a value would lose something as JSON
    values      values as JSON
    keys        keys that were chosen to make sets and dicts slow
    arguments   a handler's arguments, with the types of its annotations
    stored      records as a durable store keeps them
    records     records as the wire and the command line print them
"""
