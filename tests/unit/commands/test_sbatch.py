"""The environment that sbatch gives a job."""

from __future__ import annotations

import os
import pwd
from types import SimpleNamespace
from typing import Any

from slurmsky.commands.sbatch import job_environment


def _environment(export: str | None, **env: str) -> dict[str, str]:
    ctx: Any = SimpleNamespace(env=env)
    return job_environment(ctx, export)


def test_a_job_without_the_callers_environment_has_that_of_a_login() -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    env = _environment("NONE", PATH="/bin", FOO="1", SHLVL="4")
    assert (env["USER"], env["LOGNAME"], env["PATH"], env["SHLVL"]) == (user, user, "/bin", "1")
    assert "FOO" not in env


def test_exported_variables_take_precedence_over_the_login() -> None:
    env = _environment("ALL,FOO=2", FOO="1", SHLVL="4", USER="ann")
    assert (env["FOO"], env["SHLVL"], env["USER"]) == ("2", "4", "ann")
    assert _environment("ALL", FOO="1") == {"FOO": "1"}
