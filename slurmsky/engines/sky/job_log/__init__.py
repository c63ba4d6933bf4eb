"""Log of a job: record on disk, events, and files."""
