"""Steps: placement in the allocation, task layout, streams, hosts."""
