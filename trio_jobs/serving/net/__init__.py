"""Bytes and ports.

In the order in which they tell the story:

    outgoing    what leaves on one connection
    streams     one peer's bytes, under the server's rules
    listening   listen, and stop in order
"""
