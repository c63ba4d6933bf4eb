"""Where jobs run: an engine brings nodes up with agents on them and carries their events back."""
