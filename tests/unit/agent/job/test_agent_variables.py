"""Variables that an agent adds to a job's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.agent.job.agent_variables import AgentVariables


def test_the_agents_interpreter_is_that_of_commands_in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = AgentVariables("/s", "/home", str(tmp_path), "")
    monkeypatch.setenv("SLURMSKY_PYTHON", "/opt/python")
    without: dict[str, str] = {}  # --export=NONE
    chosen = {"SLURMSKY_PYTHON": "/own/python"}
    for env in (without, chosen):
        variables.add_to(env)
    assert (without["SLURMSKY_PYTHON"], chosen["SLURMSKY_PYTHON"]) == ("/opt/python", "/own/python")
    monkeypatch.delenv("SLURMSKY_PYTHON")
    unset: dict[str, str] = {}
    variables.add_to(unset)
    assert "SLURMSKY_PYTHON" not in unset and unset["SLURMSKY_AGENT"] == "/s"
