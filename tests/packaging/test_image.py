"""The container image: its Dockerfile's steps, run in a root folder on top of this machine's.

A builder needs a registry of images, which a test cannot reach. So this machine's root is the base image: an overlay in
a mount namespace takes what the steps write, and a process namespace ends what they start.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from polling import PATIENCE_S

ROOT = Path(__file__).parents[2]
#: $1: a folder for the layers, $2: the copy of the build context, $3: the steps
_BUILD = """
mount -t tmpfs image "$1" && cd "$1" && mkdir upper work root &&
mount -t overlay image -o lowerdir=/,upperdir=upper,workdir=work root &&
mount -t proc proc root/proc && mount --rbind /dev root/dev && mount -t tmpfs tmp root/tmp || exit 77
mkdir -p root/image && cp -a "$2" root/image/context && cp "$3" root/image/steps &&
exec chroot root /bin/sh -eu /image/steps
"""
_SESSION = """
printf '#!/bin/bash\\nsrun -n2 echo "task of $SLURM_JOB_NAME"\\n' >job.sh
sbatch --wait -J inside job.sh && cat slurm-1.out
sacct -X -n -P -o state
# the queue that stays
slurmsky stop >/dev/null
{command} &
until slurmsky status | grep -q running; do sleep 0.1; done
sbatch --wait --wrap true
sacct -X -n -P -o jobid,state
slurmsky stop
"""


def instructions() -> list[tuple[str, str]]:
    """(name, rest) of each line of the Dockerfile, with continued lines joined."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_the_base_is_named_and_nothing_runs_before_the_sources_are_there() -> None:
    names = [name for name, _ in instructions()]
    assert names[:2] == ["ARG", "FROM"] and names.index("COPY") < names.index("RUN") and names[-1] == "CMD"


def context(folder: Path) -> Path:
    """The build context: this folder without what .dockerignore names."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line.removeprefix("**/") for line in lines if line and not line.startswith("#")]
    target = folder / "context"
    target.mkdir()
    for path in ROOT.iterdir():
        if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in patterns):
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    return target


def steps(**arguments: str) -> str:
    """The Dockerfile as a shell script that ends with a session."""
    lines = ["export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    command = ""
    for name, rest in instructions():
        if name == "ARG":
            for word in shlex.split(rest):
                key, _, value = word.partition("=")
                lines.append(f"export {key}={shlex.quote(arguments.get(key, value))}")
        elif name == "COPY":
            assert rest == ". /usr/src/slurmsky"
            lines.append("mkdir -p /usr/src && cp -a /image/context /usr/src/slurmsky")
        elif name == "RUN":
            lines.append(f"sh -c {shlex.quote(rest)}")
        elif name == "ENV":
            lines.append(f"export {rest}")
        elif name == "WORKDIR":
            lines.append(f"mkdir -p {rest}; cd {rest}")
        elif name == "CMD":
            command = shlex.join(json.loads(rest))
        else:
            assert name == "FROM", name
    return "\n".join([*lines, _SESSION.format(command=command)])


@functools.cache
def possible() -> bool:
    """Whether this account may mount over its root folder."""
    test = "mount -t tmpfs t /mnt && cd /mnt && mkdir u w r && mount -t overlay o -o lowerdir=/,upperdir=u,workdir=w r"
    done = subprocess.run(["unshare", "-mpf", "sh", "-c", test], capture_output=True, check=False)
    return os.geteuid() == 0 and done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not possible(), reason="needs root, and overlays over the root folder")
def test_the_image_builds_and_runs_jobs(tmp_path: Path) -> None:
    script = tmp_path / "steps"
    script.write_text(steps(PIP_NO_CACHE_DIR="0"))
    layers = tmp_path / "layers"
    layers.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM", "SBATCH", "SKYPILOT_", "XDG_"))
    }
    env = {**kept, "HOME": "/root/image-home", "PIP_CACHE_DIR": os.path.expanduser("~/.cache/pip")}
    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "--kill-child", "sh", "-c", _BUILD, "sh", layers, context(tmp_path), script],
        env=env, capture_output=True, text=True, timeout=2 * PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("slurmsky ")
    assert lines[1:5] == ["Submitted batch job 1", "task of inside", "task of inside", "COMPLETED"]
    assert lines[5:8] == ["Submitted batch job 2", "1|COMPLETED", "2|COMPLETED"]
