"""A job is tried.

In the order in which they tell the story:

    deadlines   one cancel scope, several deadlines
    channel     the memory channel of an attempt
    context     what a handler is given
    logs        what becomes of jobs, as lines of a log
    attempt     one attempt, and what its end means
    sweeper     ends the jobs that waited too long
    worker      claims jobs, and runs their attempts
"""
