"""What a job is: records, and the rules about them.

In the order in which they tell the story:

    retry      when a failed job runs again
    job        the records
    summary    the records of jobs in lists
    handler    which functions are handlers, and the mark on one
    options    the options of a job, checked
    handlers   handlers by name
"""
