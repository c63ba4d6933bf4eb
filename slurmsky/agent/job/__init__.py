"""A job on a node: its launch, environment, output files, end messages and journal."""
