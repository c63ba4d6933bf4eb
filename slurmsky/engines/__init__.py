"""Engines run jobs: each one starts nodes with agents and forwards the agents' events to the controller."""
