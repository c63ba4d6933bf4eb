"""slurmsky top: a live view of jobs and nodes.

A separate program (`__main__`), which replaces the caller's `slurmsky top` process. It reads the cluster's state with
the commands that the caller could type (`controller_client`), never from the store, so it survives restarts of the
controller.

    plain_text       makes text from jobs safe for a terminal    rows         records of squeue's and sinfo's output
    tail             the end of an output file                   job_details  one job's details and efficiency
    keys             the action of each key                      bars         head, foot and lines between panes
    data_table       widget: rows with a cursor                  scroll_text  widget: text that scrolls
    watcher          threads that query at an interval           app          the screen and its keys
"""
