"""Translates jobs to SkyPilot tasks, and SkyPilot's status to states.

The package is pure: no module reads or writes anything but the arguments, unless it says so.
"""
