"""Engines run jobs: they start nodes with agents, and forward events."""
