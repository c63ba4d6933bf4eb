"""Requests to SkyPilot's API server: address, credentials, configuration, errors."""
