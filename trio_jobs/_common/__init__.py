"""What all rooms above share: errors, the states of a job, and small tools.

In the order in which they tell the story:

    errors           every error of the package, by whose fault it is
    states           the states of a job, and which may follow which
    validate         checks of what callers pass in
    error_text       exceptions as text
    deferred_error   an error that waits until the tasks beside it have ended
    bell             waking all tasks that wait
    task_tree        the stacks of a job's tasks
    loop_watch       what blocks the event loop
"""
