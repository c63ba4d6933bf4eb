"""The agent's core: the daemon, jobs, batch scripts and clients' requests."""
