"""Digests of a submit folder are computed once per content, also after a restart."""

from __future__ import annotations

import builtins
import os
import stat
import time
from pathlib import Path

import pytest

from slurmsky.engines.base import EngineError
from slurmsky.engines.nodes import folder_listing
from slurmsky.engines.nodes.folder_listing import FolderListing, Listing


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    past = time.time() - 60
    for name, text in {"a": "one", "sub/b": "two"}.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (past, past))
    return folder


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The files whose content is read."""
    names: list[str] = []

    def spy(path, mode="r", *more, **named):
        if mode == "rb":
            names.append(Path(path).name)
        return real(path, mode, *more, **named)

    real = builtins.open
    monkeypatch.setattr(builtins, "open", spy)
    return names


def listing(tmp_path: Path, limit: int = 1 << 20) -> FolderListing:
    return FolderListing(tmp_path / "digests", tmp_path / "home", limit)


def test_a_later_controller_reads_no_unchanged_file(tmp_path, project, read):
    first = listing(tmp_path).listing(str(project)).entries
    assert sorted(read) == ["a", "b"]
    read.clear()
    later = listing(tmp_path)
    assert later.listing(str(project)).entries == first and read == []
    (project / "a").write_text("changed")
    assert later.listing(str(project)).entries != first and read == ["a"]


def test_a_file_that_was_just_written_is_read_again_by_a_later_controller(tmp_path, project, read, monkeypatch):
    (project / "a").write_text("new")
    one = listing(tmp_path)
    one.listing(str(project))
    read.clear()
    listing(tmp_path).listing(str(project))
    assert read == ["a"]
    later = time.time_ns() + 10**10
    monkeypatch.setattr(time, "time_ns", lambda: later)
    one.listing(str(project))  # the file is old enough now
    read.clear()
    listing(tmp_path).listing(str(project))
    assert read == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 3}', '{"a": [1]}', "\x00"])
def test_a_damaged_file_of_digests_costs_only_the_reading(tmp_path, project, read, text):
    first = listing(tmp_path).listing(str(project)).entries
    (kept,) = (tmp_path / "digests").iterdir()
    kept.write_text(text)
    read.clear()
    assert listing(tmp_path).listing(str(project)).entries == first
    assert sorted(read) == ["a", "b"]


def test_digests_are_private_and_those_of_old_folders_go(tmp_path):
    one = listing(tmp_path)
    for number in range(70):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        (folder / "file").write_text(str(number))
        os.utime(folder / "file", (0, number))
        one.listing(str(folder))
    kept = list((tmp_path / "digests").iterdir())
    assert len(kept) == 64
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE((tmp_path / "digests").stat().st_mode) == 0o700


def test_a_folder_over_the_limit_is_refused_with_the_way_out(tmp_path, project):
    (project / "large").write_bytes(bytes(3 << 20))
    with pytest.raises(EngineError, match=r"more than 1 MiB .*\.skyignore"):
        listing(tmp_path).listing(str(project))
    (project / ".skyignore").write_text("large\n")
    assert "large" not in listing(tmp_path).listing(str(project)).entries


def test_the_digest_of_a_changed_folder_is_that_of_a_new_listing_of_it(tmp_path, project):
    one, digests = listing(tmp_path), set()

    def digest() -> str:
        found = one.listing(str(project))
        assert found.digest == listing(tmp_path).listing(str(project)).digest
        assert found.without(["a"]).digest == Listing({}, 0).followed_by(found.without(["a"]).entries).digest
        digests.add(found.digest)
        return found.digest

    first = digest()
    assert digest() == first
    changes = [
        lambda: (project / "a").write_text("changed"),
        lambda: (project / "a").chmod(0o700),
        lambda: (project / "new").write_text("one"),
        lambda: (project / "new").rename(project / "other"),
        lambda: (project / "sub" / "b").unlink(),
        lambda: (project / "link").symlink_to("a"),
        lambda: (project / "sub").rmdir(),
    ]
    for change in changes:
        change()
        digest()
    assert len(digests) == 1 + len(changes)


def test_a_listing_hashes_only_the_entries_that_have_changed(tmp_path, project, monkeypatch):
    one = listing(tmp_path)
    one.listing(str(project))
    hashed: list[str] = []
    real = folder_listing._hash
    monkeypatch.setattr(folder_listing, "_hash", lambda name, entry: hashed.append(name) or real(name, entry))
    assert one.listing(str(project)).digest and hashed == []
    (project / "new").write_text("new")
    (project / "sub" / "b").unlink()
    assert one.listing(str(project)).without(["a"]).digest and sorted(hashed) == ["a", "new", "sub/b"]
