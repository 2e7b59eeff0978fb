"""Run jobs: claim them, run an attempt of each, and record how it ended.

In the order in which they tell the story:

    deadlines   one cancel scope, several deadlines
    channel     the memory channel of an attempt
    writer      writes the events of an attempt into its job's log
    context     the job context that a handler gets
    outcome     what the end of an attempt means for its job
    attempt     one attempt, from its start to how it ended
    logs        the starts and ends of attempts, in Python's log
    runner      runs attempts, and records how they ended
    worker      claims jobs, and has their attempts run
    counts      what an attempt has sent and received
    hooks       something of the program's around each attempt, and an observer
    explaining  why a job does not run, or what it is doing, in words
"""
