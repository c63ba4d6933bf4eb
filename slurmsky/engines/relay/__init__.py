"""Connections to a job's first node, and relayed commands."""
