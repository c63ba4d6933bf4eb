"""The local engine: agents on this machine."""

from .local_engine import LocalEngine

__all__ = ["LocalEngine"]
