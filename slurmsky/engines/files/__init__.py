"""Submit folders and returned files, for engines with remote nodes."""
