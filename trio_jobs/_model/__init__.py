"""What a job is: records, and the rules about them.

In the order in which they tell the story:

    retry      when a failed job runs again
    job        the records
    summary    what lists say of jobs
    handler    which functions are handlers, and the mark on one
    options    what a caller may choose for a job
    handlers   handlers by name
"""
