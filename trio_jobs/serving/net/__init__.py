"""Ports, bytes, and HTTP/1.1 on a connection.

In the order in which they tell the story:

    outgoing       the sending side of one connection
    streams        the byte stream of one peer
    listening      listen, and stop in order
    request_head   the head of a request, read strictly
    request_body   the body of a request, cut out of the bytes
    direct         an ASGI extension: a body past the layers of the application
    exchange       one request and its response
    http1          HTTP/1.1 on a connection
"""
