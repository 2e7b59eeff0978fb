"""Jobs over a WebSocket.

In the order in which they tell the story:

    session      one connection's protocol, without I/O
    connection   one connection, driven
    faults       a connection that names the fault of a peer's frame
    server       serve_websocket
"""
