"""Chats of the AI SDK over jobs.

In the order in which they tell the story:

frames       a log as the stream of a UI message
front        the routes
"""
