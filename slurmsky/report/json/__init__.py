"""JSON and YAML documents for --json and --yaml."""
