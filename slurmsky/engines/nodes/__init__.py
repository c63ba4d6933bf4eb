"""Kept nodes: agents that a provider brings up, that stay warm, and that the controller places jobs on."""

from .engine import NodesEngine

__all__ = ["NodesEngine"]
