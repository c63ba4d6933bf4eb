"""Requests to SkyPilot's API server."""
