"""Warm nodes: a provider starts their agents, the nodes stay warm, and the controller places jobs on them."""

from .nodes_engine import NodesEngine

__all__ = ["NodesEngine"]
