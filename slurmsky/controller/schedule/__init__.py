"""The scheduler: order, nodes and limits of pending jobs."""
