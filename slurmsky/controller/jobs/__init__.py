"""A job's record, its states, its submission and its changes."""
