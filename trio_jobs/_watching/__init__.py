"""Read jobs, wait for them, and cancel them.

In the order in which they tell the story:

    readers   the readers of a job, and whether its handler may go on
    cursor    how far a reader has read
    streams   a log as events and as tokens
    raised    what handlers raised in this process
    handle    one job, as `submit` and `get` return it
    lines     a job as lines of text
"""
