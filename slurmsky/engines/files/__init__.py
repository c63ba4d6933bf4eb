"""Submit folders and the files that come back from nodes, for engines whose nodes are elsewhere."""
