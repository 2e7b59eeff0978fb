"""OpenAI's protocols over jobs.

In the order in which they tell the story:

asked        a request as the fields that a handler may take
responses    a log as the events of a response
completions  a log as the chunks of a chat completion
streams      both as server-sent events
front        the routes
"""
