"""Parses command lines of sbatch and srun in a fixed folder and environment."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from slurmsky.model.spec import JobSpec
from slurmsky.options import submit
from slurmsky.options.submit import ScriptText, StepRequest, Submission
from slurmsky.options.usage_errors import CommandError
from slurmsky.options.values import ReadContext

HERE = ReadContext(now=1_800_000_000, cwd="/home/user")


def around(env: dict[str, str], **more: Any) -> ReadContext:
    return dataclasses.replace(HERE, env=env, **more)


def sbatch(*argv: str, script: str = "", **env: str) -> Submission:
    text = ScriptText("/home/user/s.sh", f"#!/bin/sh\n{script}:\n".encode())
    return submit.parse_sbatch((*argv, "s.sh"), text, around(env))


def srun(*argv: str, **env: str) -> StepRequest:
    return submit.parse_srun((*argv, "prog"), around(env))


def refusal(*argv: str, script: str = "", **env: str) -> tuple[str, ...]:
    with pytest.raises(CommandError) as caught:
        sbatch(*argv, script=script, **env)
    return caught.value.lines


def fields(spec: JobSpec) -> dict[str, Any]:
    known = spec.to_dict()
    for name, default in (("job_name", "s.sh"), ("chdir", "/home/user")):
        if known.get(name) == default:
            del known[name]
    return known
