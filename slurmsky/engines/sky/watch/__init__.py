"""Watches launched jobs: their states, their logs, and their clusters after the end."""
