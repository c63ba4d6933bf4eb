"""Connections to a job's first node, and the commands that cross them."""
