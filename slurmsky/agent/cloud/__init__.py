"""A node of a SkyPilot task: rendezvous, job log, relayed commands."""
