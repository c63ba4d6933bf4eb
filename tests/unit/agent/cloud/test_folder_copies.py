"""Copies of folders on a warm node that lie in one another."""

from __future__ import annotations

from pathlib import Path

from slurmsky.agent.cloud.folder_copies import FolderCopies
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
