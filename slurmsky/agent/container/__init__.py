"""Containers for tasks and batch scripts (pyxis' options)."""
