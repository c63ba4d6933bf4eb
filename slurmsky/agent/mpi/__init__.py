"""PMI-1, PMI-2 and PMIx servers for the tasks of a step."""
