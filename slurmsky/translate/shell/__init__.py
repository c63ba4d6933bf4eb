"""Reads shell source: commands, words, variables and paths, each with its position. Pure."""
