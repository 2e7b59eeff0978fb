"""Jobs over a WebSocket.

In the order in which they tell the story:

    session      one connection's protocol, without I/O
    connection   one connection, driven
    faults       what is wrong with a peer's frames, told to it
    server       serve_websocket
"""
