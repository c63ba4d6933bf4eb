"""Watches launched jobs: states, logs, and clusters after the end."""
