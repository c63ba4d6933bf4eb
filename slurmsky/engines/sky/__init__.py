"""SkyPilot engine: managed jobs through the API server's HTTP interface."""
