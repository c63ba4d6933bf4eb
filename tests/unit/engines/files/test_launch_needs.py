"""The environment of SkyPilot's nodes has no credentials of this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from slurmsky.engines.files.launch_needs import leave_credentials
from slurmsky.engines.relay.proxy_socket import ProxySocket
from slurmsky.model.spec import JobSpec
from slurmsky.protocol import wire
from slurmsky.site.record import SkyConfig

SITE = SimpleNamespace(sky=SkyConfig(credentials=("WANDB_*",)))
ENVIRONMENT = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "WANDB_API_KEY": "x", "HF_TOKEN": "x"}


def launch(environment: dict[str, str], export: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(environment=environment, spec=JobSpec(export=export))


def test_launches_contain_no_credentials() -> None:
    elements = [launch(ENVIRONMENT), launch(ENVIRONMENT)]
    line = leave_credentials(elements, SITE)
    assert line.startswith("not sent to the cloud: AWS_SECRET_ACCESS_KEY, HF_TOKEN (")
    assert elements[0].environment == {"PATH": "/bin", "WANDB_API_KEY": "x"}
    assert elements[1].environment is elements[0].environment  # else each would be sent with its own
    assert "HF_TOKEN" in ENVIRONMENT


def test_a_launch_contains_credentials_that_export_names() -> None:
    one = launch(ENVIRONMENT, "ALL,HF_TOKEN,AWS_SECRET_ACCESS_KEY")
    assert leave_credentials([one], SITE) == "" and one.environment == ENVIRONMENT


def request(*args: str, **env: str) -> wire.CommandRequest:
    return wire.CommandRequest("srun", args, "/", 0o22, (False,) * 3, None, 9, {**ENVIRONMENT, **env})


def test_srun_sends_credentials_that_export_names(tmp_path: Path) -> None:
    proxy = ProxySocket(tmp_path / "door", None, tmp_path / "none", ("WANDB_*",))
    plain = {"PATH", "WANDB_API_KEY"}
    assert set(proxy._without_credentials(request("hostname")).env) == plain
    assert set(proxy._without_credentials(request("--export=ALL,HF_TOKEN", "hostname")).env) == {*plain, "HF_TOKEN"}
    assert set(proxy._without_credentials(request("--export", "HF_TOKEN", "hostname")).env) == {*plain, "HF_TOKEN"}
    named = request("hostname", SLURM_EXPORT_ENV="ALL,HF_TOKEN")
    assert set(proxy._without_credentials(named).env) == {*plain, "HF_TOKEN", "SLURM_EXPORT_ENV"}
