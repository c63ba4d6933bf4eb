"""The resident controller: owns the queue of one user."""
