"""Jobs as tools and tasks of the Model Context Protocol (MCP), by the official SDK.

In the order in which they tell the story:

    forms        what a handler takes, as the schemas of tools and of forms, and what is filled in
    tasks        a job as a task
    extension    `mcp_extension`: tools and tasks for a server of the SDK
    front        `mcp_front`: the same beside the other paths of a server of jobs
"""
