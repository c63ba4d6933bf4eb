"""Connections to the first node of a running job."""
