"""Copies of folders on a warm node that lie in one another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurmsky.agent.cloud.folder_copies import FolderCopies, FolderCopy
from slurmsky.protocol.file_messages import FolderEntry


def entry(content: str) -> FolderEntry:
    return FolderEntry("f", 0o644, 1, 5, content)


def test_what_a_transfer_changes_is_recorded_in_each_copy_that_has_the_file(tmp_path: Path):
    copies = FolderCopies(str(tmp_path / "home"))
    above, inside = copies.copy(str(tmp_path / "p")), copies.copy(str(tmp_path / "p" / "jobs"))
    inside.entries, inside.known, inside.digest = {"a": entry("old"), "b": entry("b")}, {"a": (1, 1)}, "same"
    copies.share(above, "jobs/a", entry("new"))
    copies.share(above, "jobs/b", None)
    copies.share(above, "jobs/c", entry("c"))
    assert inside.entries == {"a": entry("new")} and inside.known == {"a": (1, 5)} and inside.digest == ""
    copies.save(above)
    later = FolderCopies(str(tmp_path / "home"))
    assert [name for _, name in later.others(later.copy(str(tmp_path / "p")), "jobs/a")] == ["a"]


def index(folder: Path) -> Path:
    """The index of the one copy."""
    (found,) = (folder / "home" / "folders").glob("*.json")
    return found


def content(copy: FolderCopy) -> tuple[object, ...]:
    return copy.folder, copy.at, copy.digest, copy.entries, copy.known


def test_a_change_of_a_large_copy_appends_one_line_which_a_later_agent_reads(tmp_path: Path):
    def later() -> FolderCopy:
        return FolderCopies(str(tmp_path / "home")).copy(str(tmp_path / "p"))

    copy = later()
    for number in range(1000):
        copy.set_entry(str(number), entry("c"))
        copy.set_known(str(number), entry("c"))
    copy.digest = "d1"
    copy.save()
    whole = index(tmp_path).stat().st_size
    copy.set_entry("1", entry("new"))
    copy.set_known("2", None)
    copy.set_entry("3", None)
    copy.digest = ""
    copy.save()
    copy.save()
    assert whole < index(tmp_path).stat().st_size < whole + 300
    assert content(later()) == content(copy)
    for number in range(3000):
        copy.set_known("4", entry("c" * number))
        copy.set_entry("4", entry("c" * (number % 2)))
        copy.save()
    assert index(tmp_path).stat().st_size < 4 * whole
    assert content(later()) == content(copy)


@pytest.mark.parametrize("size", [-50, -20, -5, -2, -1, 3])
def test_a_damaged_index_costs_only_that_the_list_is_sent_again(tmp_path: Path, size: int):
    copies = FolderCopies(str(tmp_path / "home"))
    copy = copies.copy(str(tmp_path / "p"))
    for name in "ab":
        copy.set_entry(name, entry(name))
        copy.digest = name
        copy.save()
    path = index(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    later = FolderCopies(str(tmp_path / "home")).copy(str(tmp_path / "p"))
    assert later.digest == ("b" if size == -1 else "")
    assert set(later.entries) == ({"a", "b"} if size == -1 else {"a"} if size < 0 else set())
    later.set_entry("c", entry("c"))
    later.save()
    again = FolderCopies(str(tmp_path / "home")).copy(str(tmp_path / "p"))
    assert content(again) == content(later) and os.path.isdir(again.at)
