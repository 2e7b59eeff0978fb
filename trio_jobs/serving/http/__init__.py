"""Jobs over HTTP.

In the order in which they tell the story:

    body, asked    the body of a request, within its bounds; what a request asks for
    asgi           a guard before every request; a WebSocket of another server
    endpoints      the paths, what each takes, and what it answers
    responses      answers as responses
    event_stream   a log as a response
    assets         the files of the page
    openapi        the OpenAPI document
    probes         health checks, and serve_metrics
    app            http_app
"""
