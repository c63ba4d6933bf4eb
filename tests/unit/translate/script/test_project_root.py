"""The folder in which a script expects to be submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.translate.script import needs
from slurmsky.translate.script.project_root import Origin, origin
from slurmsky.translate.shell.script_commands import parse
from slurmsky.translate.shell.script_variables import Scope


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository ``net`` with a program in its root and a script two folders below."""
    root = tmp_path / "net"
    for name in ("train.py", "CMakeLists.txt", "tools/prepare.py", "slurm/gpu/job.sh", "slurm/gpu/env.sh", ".git/HEAD"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (tmp_path / "beyond.py").write_text("")
    return root


def find(body: str, folder: Path) -> Origin:
    script = parse("#!/bin/bash\n" + body)
    return origin(script, Scope.of(script), str(folder), needs.of(script.source).paths)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("python train.py", Origin(2)),
        ("srun python tools/prepare.py && cd tools && python prepare.py", Origin(2)),
        ("mkdir build; cd build; cmake ..; ./a", Origin(2)),
        ("python -m tools.prepare", Origin(2)),
        ("source env.sh; python ../../train.py", Origin(0)),
        ("python other.py", Origin(0, ("other.py",))),
        ("python beyond.py", Origin(0, ("beyond.py",))),  # above the repository
        ("./built/solver in.txt", Origin(0, (), "", ("built/solver",))),
        ("make; ./built/solver in.txt", Origin(0)),
        ("echo train.py; cd $WHERE; python train.py", Origin(0)),
        ("cd /home/me/net; python train.py", Origin(2, (), "/home/me/net")),
        ("python /home/me/net/tools/prepare.py", Origin(2, (), "/home/me/net")),
        ("cd /home/me/elsewhere; python train.py", Origin(2)),
        ("cd /home/me/other/gpu; ./gpu", Origin(0, (), "/home/me/other/gpu")),
    ],
)
def test_the_submit_folder_is_where_the_named_files_are(body: str, expected: Origin, project: Path) -> None:
    assert find(body, project / "slurm" / "gpu") == expected


def test_the_root_of_the_repository_is_found_from_itself(project: Path) -> None:
    assert find("python train.py", project) == Origin(0)


def test_nothing_is_known_of_a_folder_that_does_not_exist(project: Path) -> None:
    assert find("python train.py", project / "gone") == Origin(0)
