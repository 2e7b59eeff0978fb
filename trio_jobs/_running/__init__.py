"""A job is tried.

In the order in which they tell the story:

    deadlines   one cancel scope, several deadlines
    channel     the memory channel of an attempt
    writer      writes what an attempt says into its job's log
    context     what a handler is given
    outcome     what the end of an attempt means for its job
    attempt     one attempt, from its start to how it ended
    logs        what becomes of jobs, as lines of Python's log
    runner      runs attempts, and records how they ended
    worker      claims jobs, and has their attempts run
"""
