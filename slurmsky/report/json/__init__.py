"""Records as the documents of --json and --yaml."""
