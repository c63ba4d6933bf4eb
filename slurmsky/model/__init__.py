"""Records and enums that every other package speaks in; values only."""
