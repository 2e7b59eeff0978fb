"""The jobs of `trio-jobs demo`, watched through the public API.

Its modules:

    handlers    the jobs
    files       the texts they work on
    rows        what a reader of a job's log knows of it
    screen      plain lines, and the summary
    live        a table on a terminal
    place       the file that the jobs are kept in
    page        the same jobs in a browser
    play        submit them all, read their logs, cancel one
"""
