"""The log of one job: its record on disk, its events, and the files it carries."""
