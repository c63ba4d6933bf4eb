"""Shipped files of a submit folder contain no credentials, at any path."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from slurmsky.engines.base import EngineError
from slurmsky.engines.files import folder_contents


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A typical home folder."""
    folder = tmp_path / "users" / "me"
    for name in (".ssh/id_rsa", ".aws/credentials", ".config/gcloud/x.db", ".local/share/x", ".cache/pip/x", ".sky/x"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("secret")
    for name in (".netrc", ".git-credentials", ".npmrc", ".vault-token", ".kaggle", "job.sh"):
        (folder / name).write_text("secret" if name.startswith(".") else "#!/bin/sh")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def shipped_files(folder: Path, home: Path, tmp_path: Path) -> dict[str, bytes]:
    """Name -> content of what is in the archive."""
    folder_contents.archive(folder, tmp_path / "a.tar", 1 << 20, home, tmp_path / "state")
    with tarfile.open(tmp_path / "a.tar") as tar:
        return {member.name: tar.extractfile(member).read() if member.isreg() else b"" for member in tar.getmembers()}


def names_of(content: dict[str, bytes]) -> set[str]:
    assert b"secret" not in b"".join(content.values())
    return set(content)


def test_nothing_private_of_the_home_folder(tmp_path, home):
    assert names_of(shipped_files(home, home, tmp_path)) == {"job.sh"}


def test_nothing_private_from_above_the_home_folder(tmp_path, home):
    assert names_of(shipped_files(home.parent, home, tmp_path)) == {"me", "me/job.sh"}


def test_nothing_private_by_another_name_of_the_home_folder(tmp_path, home):
    (tmp_path / "alias").symlink_to(home.parent)
    assert names_of(shipped_files(tmp_path / "alias" / "me", home, tmp_path)) == {"job.sh"}


def test_private_folders_that_the_home_folder_has_links_to(tmp_path, home):
    """Dotfiles in a project folder, and keys on another disk, linked from the home folder."""
    project = tmp_path / "project"
    project.mkdir()
    (home / ".aws" / "credentials").rename(project / "credentials")
    (home / ".aws" / "credentials").symlink_to(project / "credentials")
    (home / ".ssh").rename(project / "ssh")
    (home / ".ssh").symlink_to(project / "ssh")
    (project / "to-keys").symlink_to(home / ".ssh")
    os.link(home / ".netrc", project / "netrc")
    os.link(home / ".config" / "gcloud" / "x.db", project / "x.db")
    (project / "job.sh").write_text("#!/bin/sh")
    assert names_of(shipped_files(project, home, tmp_path)) == {"job.sh"}


def test_dot_folders_of_a_project_are_copied(tmp_path, home):
    project = tmp_path / "project"
    (project / ".docker").mkdir(parents=True)
    (project / ".docker" / "Dockerfile").write_text("FROM x")
    assert names_of(shipped_files(project, home, tmp_path)) == {".docker", ".docker/Dockerfile"}


def test_the_state_folder_is_not_copied(tmp_path, home):
    (tmp_path / "project" / "state").mkdir(parents=True)
    (tmp_path / "project" / "state" / "queue.db").write_text("secret")
    (tmp_path / "state").symlink_to(tmp_path / "project" / "state")
    assert names_of(shipped_files(tmp_path / "project", home, tmp_path)) == set()


@pytest.mark.parametrize("name", [".ssh", ".config/gcloud", ".aws/deeper"])
def test_a_private_folder_itself_is_refused(tmp_path, home, name):
    (home / name).mkdir(exist_ok=True)
    with pytest.raises(EngineError, match="contains credentials"):
        shipped_files(home / name, home, tmp_path)


def test_a_folder_above_is_copied_unless_it_is_large_shared_or_a_home_folder(tmp_path, home):
    own = home / "project" / "jobs"
    own.mkdir(parents=True)
    (own.parent / "data").write_bytes(b"x" * 2000)

    def fits(folder: Path, limit: int = 1 << 20) -> bool:
        return folder_contents.may_be_sent(folder, limit, home, tmp_path / "state", own)

    assert fits(own.parent) and not fits(own.parent, 1999)
    assert not fits(home) and not fits(home.parent)
    (own / ".skyignore").write_text("data\n")
    assert not fits(own.parent, 1999)  # the submit folder's file names what is in the submit folder
    (own.parent / ".skyignore").write_text("data\n")
    assert fits(own.parent, 1999)
    own.parent.chmod(0o1777)
    assert not fits(own.parent)
