"""The embedded engine: agents on this machine."""
from .engine import LocalEngine

__all__ = ["LocalEngine"]
