"""A root folder with this machine's own programs, because a test cannot fetch images."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

PROGRAMS = ("bash", "sh", "cat", "env", "id", "ls", "mkdir", "pwd", "sleep", "touch", "kill", "readlink")
SITE = """
cluster = "boxes"
engine = "local"

[[node]]
names = "n[1-2]"
cpus = 4
memory_mib = 2000
gres = "gpu:h100:2"

[[partition]]
name = "debug"
nodes = "ALL"
default = true
"""


def _libraries(program: str) -> set[str]:
    lines = subprocess.run(["ldd", program], capture_output=True, text=True).stdout.splitlines()
    words = [word for line in lines for word in line.split()]
    return {word for word in words if word.startswith("/")}


@pytest.fixture(scope="session")
def rootfs() -> Iterator[Path]:
    """The image: a few programs and their libraries, enroot's /etc/environment, and a file that identifies it."""
    root = Path(tempfile.mkdtemp(prefix="img.", dir="/tmp"))
    root.chmod(0o755)
    needed: set[str] = set()
    (root / "bin").mkdir()
    for name in PROGRAMS:
        path = shutil.which(name, path="/usr/bin:/bin")
        if path is not None:
            shutil.copy(path, root / "bin" / name)
            needed |= _libraries(path)
    for library in needed:
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    (root / "etc").mkdir()
    (root / "etc/environment").write_text("PATH=/bin\nFROM_IMAGE=yes\nSHARED=image\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "inside").write_text("this is the image\n")
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """Two nodes with GPUs; podman stores images separately from this machine's."""
    folder = tmp_path_factory.mktemp("boxes")
    site = folder / "site.toml"
    site.write_text(SITE)
    storage = folder / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    with local_engine(site, LC_ALL="C", CONTAINERS_STORAGE_CONF=str(storage)) as engine:
        yield engine
