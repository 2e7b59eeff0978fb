"""What all rooms above share: what can go wrong, what may follow what, and small tools.

In the order in which they tell the story:

    errors           what can go wrong, by whose fault it is
    states           what may follow what
    validate         checks of what callers pass in
    error_text       exceptions as text
    deferred_error   an error that waits until the tasks beside it have ended
    bell             waking all who wait
    task_tree        where the tasks of a job are
"""
