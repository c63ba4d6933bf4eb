"""Every parsed field of a language has a reader; otherwise it would be ignored."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax_trees import tree_of

PACKAGE = Path(__file__).resolve().parents[3] / "slurmsky"
#: fields without a reader, and why
UNREAD = {
    "FilenameValues.sluid": "jobs have no SLUID here: %S is empty, as where Slurm has none",
    "JobId.step_het": "a step on components of a het job is one step here, which every +N names",
    "LanguageError.language": "the name of the error's language, for its own message",
}
LANGUAGES = sorted((PACKAGE / "language").glob("*.py"))


def fields(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Class and name of each public field of a record."""
    for cls in ast.walk(tree):
        for line in cls.body if isinstance(cls, ast.ClassDef) else ():
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id[0] != "_":
                yield cls.name, line.target.id


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}


@pytest.fixture(scope="module")
def read() -> dict[Path, set[str]]:
    return {path: attributes(tree_of(path)) for path in PACKAGE.rglob("*.py")}


def own_methods(tree: ast.AST) -> set[str]:
    """Fields that the module itself reads, except to print the record."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name != "__str__"]
    return {name for function in functions for name in attributes(function)}


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_every_parsed_field_is_read(path: Path, read: dict[Path, set[str]]) -> None:
    tree = tree_of(path)
    elsewhere = set().union(*(names for other, names in read.items() if other != path))
    unread = [f"{cls}.{name}" for cls, name in fields(tree) if name not in elsewhere | own_methods(tree)]
    assert [name for name in unread if name not in UNREAD] == []
