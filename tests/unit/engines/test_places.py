"""Where the nodes of each engine are."""

from __future__ import annotations

from slurmsky.engines.local.local_engine import LocalEngine
from slurmsky.engines.nodes.nodes_engine import NodesEngine
from slurmsky.engines.sky.sky_engine import SkyEngine


def test_only_the_local_engine_runs_jobs_on_this_machine() -> None:
    """The engine of warm nodes, which inherits from the local one, copies files and is charged."""
    found = {engine.name: (engine.this_machine, engine.places) for engine in (LocalEngine, NodesEngine, SkyEngine)}
    assert found == {"local": (True, True), "nodes": (False, True), "sky": (False, False)}
