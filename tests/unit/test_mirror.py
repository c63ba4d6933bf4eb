"""The folders of tests/unit mirror those of slurmsky/."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from syntax_trees import tree_of

UNIT = Path(__file__).parent
PACKAGE = UNIT.parents[1] / "slurmsky"
#: modules that tests of several folders share
SHARED = {path.stem: path for path in UNIT.parent.glob("*.py")}
#: the thin client is modules without a folder: slurmsky/client*.py
CLIENT = "client"
#: tests that read the sources of their folder and import none of it
READ_SOURCES = {"language/test_readers.py"}
TESTS = sorted(path for path in UNIT.rglob("test_*.py") if path.parent not in (UNIT, UNIT / CLIENT))


def folders(tree: ast.Module) -> Iterator[str]:
    """The folder below slurmsky/ of each module that a test imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("slurmsky"):
            place = PACKAGE.joinpath(*(node.module or "").split(".")[1:])
            for name in node.names:
                module = place / name.name
                found = module if module.is_dir() or module.with_suffix(".py").exists() else place
                yield (found if found.is_dir() else found.parent).relative_to(PACKAGE).as_posix()


def shared_folders(tree: ast.Module) -> Iterator[str]:
    """The folders that the shared modules of a test import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in SHARED:
            yield from folders(tree_of(SHARED[node.module]))


def belongs(folder: str, imported: set[str]) -> str:
    """Folder of a test by its imports; a subfolder if all imports are from it."""
    inside = {name for name in imported if name == folder or name.startswith(f"{folder}/")}
    return folder if folder in inside or len(inside) > 1 else next(iter(inside), "")


def test_folders_are_those_of_the_package() -> None:
    found = {path.parent.relative_to(UNIT).as_posix() for path in TESTS}
    assert {name for name in found if not (PACKAGE / name).is_dir()} == set()


def test_each_test_lies_beside_its_module() -> None:
    places = {path.relative_to(UNIT).as_posix(): path.parent.relative_to(UNIT).as_posix() for path in TESTS}
    belonging = {
        name: belongs(folder, set(folders(tree_of(UNIT / name))))
        or belongs(folder, set(shared_folders(tree_of(UNIT / name))))
        for name, folder in places.items()
        if name not in READ_SOURCES
    }
    assert {name: folder for name, folder in belonging.items() if folder != places[name]} == {}


def test_a_test_in_another_folder_is_found() -> None:
    assert belongs("agent", {"agent/cloud", "model"}) == "agent/cloud"
    assert belongs("agent", {"agent/cloud", "agent/job"}) == "agent"
    assert belongs("agent", {"protocol"}) == ""
