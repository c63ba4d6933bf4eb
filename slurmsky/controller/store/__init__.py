"""The queue on disk: records, accounting index, accounting cache."""
