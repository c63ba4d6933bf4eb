"""Explains the effect of each line of a batch script."""
