"""What a client and a server say to each other.

In the order in which they tell the story:

    requests   every message of a client, and records as JSON
    replies    what a server says, as records again
"""
