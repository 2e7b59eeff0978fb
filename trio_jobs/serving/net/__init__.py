"""Ports, bytes, and HTTP/1.1 on a connection.

In the order in which they tell the story:

    outgoing       what leaves on one connection
    streams        one peer's bytes, under the server's rules
    listening      listen, and stop in order
    request_head   the head of a request, read strictly
    request_body   the body of a request, cut out of the bytes
    direct         the body of a response, past the layers of an application
    exchange       one request and its response
    http1          HTTP/1.1 on a connection
"""
