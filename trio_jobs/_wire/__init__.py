"""The messages between clients and servers.

In the order in which they tell the story:

    events     the JSON form of events
    requests   every message of a client
    decoding   them, decoded
    errors     the codes of errors, and the errors that they stand for
    replies    what a server says, as records again
"""
