"""The queue's persistent store: job records, accounting index, accounting cache."""
