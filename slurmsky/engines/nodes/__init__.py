"""Kept nodes: agents that a provider brings up, that stay warm, and that the controller places jobs on."""

from .nodes_engine import NodesEngine

__all__ = ["NodesEngine"]
