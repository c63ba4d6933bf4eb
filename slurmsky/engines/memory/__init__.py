"""The in-memory engine: jobs without processes, in virtual time, for tests of the controller."""

from .memory_engine import MemoryEngine, Work

__all__ = ["MemoryEngine", "Work"]
