"""slurmsky top: the queue, the nodes and a job, live in the caller's terminal.

A program of its own (`__main__`), which the caller's `slurmsky top` becomes. It knows the cluster by the same
commands that the caller could type (`ask`), never by the store, so it lives through restarts of the controller.

    plain    text from jobs as a terminal may safely show it     rows   what squeue and sinfo said, as records
    tail     the end of an output file                           job    one job's details and efficiency, as lines
    keys     what each key does                                  bars   head, foot and the lines between
    table, lines   the two widgets: rows with a cursor, and text that scrolls
    poller   asks at an interval, in a thread of its own         app    the screen and its keys
"""
