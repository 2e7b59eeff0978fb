"""The jobs of a registry in protocols that clients speak already.

A front is mapping, not machinery. What a client asks for becomes one of the operations of every server, and
a log becomes frames by a function that reads no socket and no clock. Access, limits, feeds and closing are
those of `serving/`. In the order in which they tell the story:

    said         what a token says: a piece of an answer, or of the reasoning before it
    models       which parameters of a handler a request fills, and which handlers are models
    ends         how a job ended, in words that may be told to anybody
    left         what becomes of a job whose client has left
    routes       who asks, and how an error is answered
    mcp          tools and tasks of the Model Context Protocol
    openai       OpenAI's Responses in background mode, and streamed chat completions
    ai_sdk       chats of the AI SDK
    durable_streams  a log as a stream of the Durable Streams protocol, to be read

Another protocol is a module or a folder beside these, with a function of the `ServerContext` that returns its
routes.
"""
