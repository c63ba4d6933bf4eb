"""Examples of the pages print the shown output.

Each ```console block is compared, each line of a ```sh block runs, and the site builds.
"""

from __future__ import annotations

import doctest
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```console" in page.read_text(encoding="utf-8")
]
#: what the examples of the pages were run on
SITE = """
cluster = "laptop"
engine = "local"

[[node]]
names = "laptop"
cpus = 8
memory_mib = 16000
gres = "gpu:h100:2"

[[partition]]
name = "main"
nodes = "ALL"
default = true
"""
_BLOCK = re.compile(r"(?:<!-- until: (?P<until>.*?) -->\n)?```console\n(?P<text>.*?)```", re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_some_pages_have_examples() -> None:
    assert {"README.md", "guide.md", "going-to-yaml.md"} <= {page.name for page in PAGES}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    with local_engine(site, USER="ada", LOGNAME="ada", BASH_ENV="/dev/null") as engine:
        shutil.copytree(ROOT / "examples", engine.root / "examples")
        yield engine


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a block; lines of a here-document begin with "> "."""
    for piece in re.split(r"(?m)^\$ ", text)[1:]:
        lines = piece.splitlines(keepends=True)
        more = next((at for at, line in enumerate(lines) if at and not line.startswith("> ")), len(lines))
        yield "".join([lines[0], *(line[2:] for line in lines[1:more])]), "".join(lines[more:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples(page: Path, engine: LocalEngine) -> None:
    checker = doctest.OutputChecker()
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["until"]:
            deadline = time.monotonic() + 60
            while engine.run(block["until"]).returncode:
                assert time.monotonic() < deadline, block["until"]
                time.sleep(0.1)
        for command, wanted in commands(block["text"]):
            done = engine.run(f"exec 2>&1\n{command}")
            # Terminals show no trailing blanks, and a page holds none.
            found = re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).replace(str(engine.root), "/home/ada")
            if not checker.check_output(wanted, found, FLAGS):
                pytest.fail(f"{page.name}: $ {command}{wanted}--- answered:\n{found}", pytrace=False)


#: how a command of a ```sh block begins that is not run here, and why
NOT_RUN = {
    "git ": "another version of the repository",
    "scripts/test": "this run",
    "uv ": "installs: tests/unit/test_packaging.py",
    "pip ": "installs: tests/unit/test_packaging.py, tests/clients",
    "docker ": "tests/packaging/test_image.py",
    "snakemake ": "tests/clients",
    "sky ": "needs SkyPilot: tests/rig",
    "slurmsky translate --check": "needs SkyPilot: tests/rig",
    "slurmsky uninstall": "tests/cli/test_moving.py",
    "module avail": "a file of the old cluster",
    "(sacctmgr -P show": "a file of the old cluster",
    'eval "$(slurmsky completion zsh)"': "a line of zsh: tests/family/test_pages.py",
    "slurmsky completion fish | source": "a line of fish: tests/family/test_pages.py",
}
#: an argument that needs SkyPilot, and one that does not
_WITHOUT_SKYPILOT = {"--sky-check ": "--sky-check=sky.txt "}
_OLD_CLUSTER = {
    "slurm.conf": "ClusterName=lab\nNodeName=n[1-2] CPUs=8\nPartitionName=main Nodes=ALL Default=YES\n",
    "avail.txt": "/opt/modules:\ncuda/12.1\n",
    "acct.txt": "Name|Priority\nnormal|0\n",
    "sky.txt": "  Kubernetes: enabled\n    Allowed contexts:\n    - lab: enabled.\n",
}


def shell_lines() -> Iterator[tuple[str, str]]:
    """(page, command) of each ```sh block, without its comment; a backslash joins lines."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", "").splitlines():
                if line.strip():
                    yield page.name, re.sub(r"\s+# .*$", "", line)


def test_shell_lines(engine: LocalEngine) -> None:
    shutil.copytree(ROOT / "bin", engine.root / "bin", symlinks=True)
    (engine.root / "jobs").mkdir()
    for name, example in {"train.sh": "hello.sh", "job.sh": "hello.sh", "jobs/a.sh": "modules.sh"}.items():
        shutil.copy(ROOT / "examples" / "sbatch" / example, engine.root / name)
    for name, text in _OLD_CLUSTER.items():
        (engine.root / name).write_text(text)
    engine.run(["sbatch", "--wait", "-a1-7", "-o/dev/null", "--wrap=true"])  # jobs 1 to 7
    ran = set()
    for page, line in shell_lines():
        if not line.startswith(tuple(NOT_RUN)):
            ran.add(page)
            for needs, instead in _WITHOUT_SKYPILOT.items():
                line = line.replace(needs, instead)
            if "-o slurmsky.toml" in line:
                (engine.root / "slurmsky.toml").unlink(missing_ok=True)  # the page shows two ways to write it
            done = engine.run(line, env={"HOME": str(engine.root)})
            assert done.returncode == 0 and "error" not in done.stderr, f"{page}: $ {line}\n{done.stdout}{done.stderr}"
    assert {"README.md", "admins.md", "coming-from-slurm.md", "going-to-yaml.md", "guide.md", "install.md"} <= ran


@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs zensical (group dev)")
def test_the_site_builds(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    line = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        made = tmp_path / "site" / ("index.html" if page.stem == "index" else f"{page.stem}/index.html")
        assert made.exists(), page.name
