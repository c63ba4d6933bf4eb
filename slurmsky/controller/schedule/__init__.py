"""Which job starts when, on which nodes, within which limits."""
