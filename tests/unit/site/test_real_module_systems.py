"""Jobs on nodes with Environment Modules or Lmod (Debian's packages, in the test's own view of /usr)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.site import load
from slurmsky.translate.sky_task.module_command import job_variables

pytestmark = pytest.mark.slow

SITE = load('cluster = "c"\n[modules]\n"solver" = "docker:team/solver"\n', "site.toml")
MODULES = "environment-modules tcl tcl8.6 libtcl8.6"
LMOD = "lmod lua5.3 liblua5.3-0 lua-posix lua-filesystem lua-term lua-json lua-lpeg lua-bit32"
# Each alone, and as scripts find them: without a login shell that would have set them up.
MODULEFILE = {
    "modules": "#%Module1.0\nsetenv TOOL_HOME /opt/tool\nprepend-path PATH /opt/tool/bin\n",
    "lmod": 'setenv("TOOL_HOME", "/opt/tool")\nprepend_path("PATH", "/opt/tool/bin")\n',
}


@pytest.fixture(scope="module", params=["modules", "lmod"])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Path]]:
    """(which one, its unpacked packages, a folder of module files)."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root, and Debian's packages")
    if Path("/usr/share/modules").exists() or Path("/usr/share/lmod").exists():
        pytest.skip("this machine has a module system of its own")
    folder = tmp_path_factory.mktemp(request.param)
    files = folder / "files" / "tool"
    files.mkdir(parents=True)
    (files / ("1.0.lua" if request.param == "lmod" else "1.0")).write_text(MODULEFILE[request.param])
    names = (MODULES if request.param == "modules" else LMOD).split()
    fetched = subprocess.run(
        ["apt-get", "download", "-q", *names], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S
    )
    packages = sorted(folder.glob("*.deb"))
    if fetched.returncode or len(packages) < len(names):
        pytest.skip(f"packages cannot be had: {fetched.stderr[-300:]}")
    for package in packages:
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
    try:
        seen = ["unshare", "-m", "mount", "-t", "overlay", "o", "-o", f"lowerdir={folder}/root/usr:/usr", "/usr"]
        if subprocess.run(seen, capture_output=True).returncode:
            pytest.skip("no overlay of /usr can be made here")
        yield request.param, folder / "root", folder / "files"
    finally:
        shutil.rmtree(folder / "root", ignore_errors=True)


def job(system: tuple[str, Path, Path], script: str) -> subprocess.CompletedProcess[str]:
    """A job's script with slurmsky's environment, on a machine with the module system."""
    _, root, files = system
    env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "USER": "root", "MODULEPATH": str(files)}
    env.update(job_variables(SITE, f"#!/bin/bash\n{script}\n".encode(), env))
    mount = f'mount -t overlay o -o lowerdir={root}/usr:/usr /usr && exec bash -c "$1"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", mount, "bash", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_the_module_system_is_the_real_one(system: tuple[str, Path, Path]) -> None:
    done = job(system, "module --version 2>&1")
    assert ("Modules based on Lua" if system[0] == "lmod" else "Modules Release") in done.stdout


def test_a_module_of_the_machine_is_loaded(system: tuple[str, Path, Path]) -> None:
    done = job(system, 'set -e; module load tool/1.0; echo "$TOOL_HOME ${PATH%%:*} $LOADEDMODULES"')
    assert done.stdout == "/opt/tool /opt/tool/bin tool/1.0\n", done.stderr


def test_under_set_u_and_in_a_function(system: tuple[str, Path, Path]) -> None:
    line = 'set -eu; prepare() { module purge; module load tool; }; prepare; echo "$TOOL_HOME"; module list'
    done = job(system, line)
    assert done.stdout.startswith("/opt/tool\n"), done.stderr
    assert "tool/1.0" in done.stdout + done.stderr


def test_ml(system: tuple[str, Path, Path]) -> None:
    done = job(system, 'ml tool; echo "$TOOL_HOME"; ml -tool; echo "[${TOOL_HOME:-}]"')
    assert done.stdout == "/opt/tool\n[]\n", done.stderr


def test_use_avail_swap(system: tuple[str, Path, Path]) -> None:
    other = system[2].parent / "more" / "tool"
    other.mkdir(parents=True, exist_ok=True)
    name = "2.0.lua" if system[0] == "lmod" else "2.0"
    (other / name).write_text(MODULEFILE[system[0]].replace("/opt/tool", "/opt/two"))
    line = f"module use {other.parent}; module load tool/1.0; module swap tool/1.0 tool/2.0; echo $TOOL_HOME"
    line += "; module avail 2>&1"
    done = job(system, line)
    assert done.stdout.startswith("/opt/two\n"), done.stderr
    assert "tool/2.0" in done.stdout or "2.0" in done.stdout


def test_unknown_modules_are_reported_by_the_module_system(system: tuple[str, Path, Path]) -> None:
    done = job(system, "module load nosuch/9; echo on")
    assert "slurmsky:" not in done.stderr
    assert "nosuch" in done.stderr
    assert done.stdout.endswith("on\n")
