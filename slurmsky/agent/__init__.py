"""The programs on every node of an allocation: agent, steps, environment, output, wire protocol."""
