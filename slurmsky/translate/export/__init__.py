"""Converts a batch script to a readable SkyPilot YAML."""
