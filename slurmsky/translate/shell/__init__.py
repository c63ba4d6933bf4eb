"""Reads shell source: commands, words, variables and paths."""
