"""Selection of SkyPilot or this machine by setting, site file and the API server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_server import SkyServer

from slurmsky.engines.registry import Cloud
from slurmsky.engines.sky.api import api_server
from slurmsky.site import load

SITE = load('[[partition]]\nname="debug"\ndefault=true\n[gpus]\ndefault="H100"', "site.toml")


CONFIG = """
# api_server: no
jobs:
  controller:
    endpoint: wrong
api_server:
  endpoint: "https://sky.example.org"   # ours
  service_account_token: sky_abc
admin_policy: x
"""


def test_the_servers_address_in_skypilots_config(tmp_path):
    (tmp_path / ".sky").mkdir()
    (tmp_path / ".sky" / "config.yaml").write_text(CONFIG)
    access = api_server.connect({"HOME": str(tmp_path)}, SITE, "me").access
    assert (access.endpoint, access.token) == ("https://sky.example.org", "sky_abc")


@pytest.mark.parametrize(
    "wanted, engine, used_before, enabled, answer",
    [
        ("", "auto", False, ["slurm"], "local"),
        ("", "auto", True, ["slurm"], "sky"),
        ("", "auto", True, [], "local"),
        ("", "local", True, ["slurm"], "local"),
        ("", "sky", False, [], "sky"),
        ("local", "sky", True, ["slurm"], "local"),
        ("sky", "local", False, [], "sky"),
        ("", "auto", True, None, "local"),
    ],
)
def test_the_engine_of_a_setting(tmp_path, wanted, engine, used_before, enabled, answer):
    site = load(f'engine = "{engine}"', "site.toml")
    server = SkyServer()
    server.enabled = enabled or []
    if enabled is None:
        server.fault = lambda path: (503, "text/plain", b"restarting")

    async def ask():
        async with server:
            if used_before:
                (tmp_path / ".sky").mkdir()
                (tmp_path / ".sky" / "config.yaml").write_text(f"api_server:\n  endpoint: {server.endpoint}\n")
            cloud = Cloud({"HOME": str(tmp_path)}, site, "ada", tmp_path / "state", lambda _event: None)
            return await cloud.choose_engine(wanted, 10.0)

    assert asyncio.run(ask()).engine == answer


@pytest.mark.parametrize("setting", ["SLURMSKY_ENGINE", "nothing"])
def test_a_controller_of_this_machine_imports_nothing_of_skypilot(tmp_path: Path, setting: str) -> None:
    """SkyPilot's modules, HTTP and YAML would take a third of the time in which a controller starts."""
    code = """
import asyncio, sys
from pathlib import Path
import slurmsky.commands, slurmsky.controller.daemon
from slurmsky.engines.registry import Cloud
from slurmsky.site import load
cloud = Cloud({"HOME": sys.argv[1]}, load("", "site.toml"), "ada", Path(sys.argv[1]), print)
assert asyncio.run(cloud.choose_engine(sys.argv[2], 1.0)).engine == "local"
cloud.close()
heavy = ("httpx", "yaml", "http", "slurmsky.translate.explain", "slurmsky.engines.sky.api", "slurmsky.engines.nodes")
print(*sorted(set(heavy) & set(sys.modules)))
"""
    wanted = "local" if setting == "SLURMSKY_ENGINE" else ""
    result = subprocess.run([sys.executable, "-c", code, tmp_path, wanted], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("\n", "")
