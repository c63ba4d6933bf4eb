"""Reviewed output of explain and translate for every example; SkyPilot accepts the YAML."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving

from slurmsky.site import load
from slurmsky.translate.explain.explain_text import page_text

HERE = Path(__file__).parent
SNAPSHOTS = HERE / "snapshots"
EXAMPLES = HERE.parents[1] / "examples" / "sbatch"
SITE = load((SNAPSHOTS / "site.toml").read_text(), "site.toml")
SCRIPTS = moving.scripts(EXAMPLES)


def _same(path: Path, text: str) -> None:
    if os.environ.get("SLURMSKY_BLESS"):
        path.write_text(text)
    assert path.read_text() == text, f"read the difference, then SLURMSKY_BLESS=1 writes {path.name}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_explained(script: Path) -> None:
    page = moving.explained(script.read_bytes(), SITE, script.name)
    _same(SNAPSHOTS / f"{script.name}.explain.txt", page_text(page))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_translated(script: Path) -> None:
    found = moving.exported(script.read_bytes(), SITE, script.name)
    _same(SNAPSHOTS / f"{script.name}.yaml", found.yaml)


def test_no_snapshot_is_left_over() -> None:
    names = {f"{script.name}.{kind}" for script in SCRIPTS for kind in ("explain.txt", "yaml")}
    assert {path.name for path in SNAPSHOTS.iterdir()} - names == {"README.md", "site.toml", "people"}


@pytest.mark.rig
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_skypilot_takes_the_yaml(script: Path) -> None:
    import asyncio

    from slurmsky.engines.sky.api.api_access import Access
    from slurmsky.engines.sky.api.api_client import Client
    from slurmsky.engines.sky.api.api_errors import Unreachable

    text = (SNAPSHOTS / f"{script.name}.yaml").read_text()
    for name in re.findall(r"--env (\w+)=\.\.\.", text.partition("\n")[0]):  # its arguments
        text = re.sub(rf"^  {name}: null\b", f"  {name}: given", text, flags=re.MULTILINE)

    async def check() -> None:
        client = Client(Access(user_id="abcdef12", user="tests"))
        try:
            await client.health()
            await client.validate(text)
        except Unreachable:
            pytest.skip("no SkyPilot API server here")
        finally:
            await client.close()

    asyncio.run(check())
