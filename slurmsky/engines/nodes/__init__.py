"""Warm nodes: a provider starts agents, the controller places jobs."""

from .nodes_engine import NodesEngine

__all__ = ["NodesEngine"]
