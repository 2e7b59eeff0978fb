"""Jobs over HTTP.

In the order in which they tell the story:

    request_head   the head of a request, read strictly
    request_body   the body of a request, cut out of the bytes
    direct         the body of a response, past the layers of an application
    exchange       one request and its response
    http1          HTTP/1.1 on a connection
    body           the body of a request, within its bounds
    asgi           a guard before every request; a WebSocket as a pipe
    parameters     the parameters of a URL
    responses      answers as responses
    event_stream   a log as a response
    assets         the files of the page
    metrics        statistics as Prometheus reads them
    openapi        what the server says of itself
    app            http_app
"""
