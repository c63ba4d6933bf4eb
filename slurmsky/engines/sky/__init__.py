"""The SkyPilot engine: launches, watches and ends managed jobs through the API server's HTTP interface."""
