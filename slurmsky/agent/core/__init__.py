"""The agent's core: jobs, batch scripts, journal, recovery, environment."""
