"""Processes on a node: start, signals, cgroup, usage and limits."""
