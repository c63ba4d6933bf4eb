"""Fixtures for the SkyPilot engine, with short intervals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import shared_program
from sky_world import World

from slurmsky.engines.sky import intervals
from slurmsky.engines.sky.launch import node_program


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Its API server, nodes and engine live as long as ``play``."""
    monkeypatch.setattr(intervals, "PACE_S", 0.05)
    monkeypatch.setattr(intervals, "POLL_S", 0.1)
    monkeypatch.setattr(intervals, "RUNNING_POLL_S", 0.5)
    monkeypatch.setattr(intervals, "RETRY_S", (0.05, 0.1))
    monkeypatch.setattr(intervals, "LOG_FETCH_S", (0, 0.5, 1, 5))
    monkeypatch.setattr(intervals, "LOG_END_S", 10.0)
    monkeypatch.setattr(node_program, "build", shared_program.build)
    return World(tmp_path)
