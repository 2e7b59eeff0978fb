"""A job is read, waited for and cancelled.

In the order in which they tell the story:

    readers   the readers of a job, and whether its handler may go on
    cursor    how far a reader has read
    streams   a log as events and as tokens
    raised    what handlers raised in this process
    handle    one job, for who submitted it or looked it up
    lines     a job as lines of text
"""
