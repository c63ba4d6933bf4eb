"""Parts of a job on a node: launch, environment, output files, end messages and journal."""
