"""`paths.py` declares every variable and file of slurmsky; other modules use its constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from syntax_trees import tree_of

import slurmsky
from slurmsky import paths

PACKAGE = Path(slurmsky.__file__).parent
#: modules that repeat names because they must not import paths: the client's, and those of the pure rooms
STAND_ALONE = {
    "client.py",
    "client_session.py",
    "client_start.py",
    "model/spec.py",
    "translate/sky_task/module_command.py",
}
#: rooms whose paths are those of scripts, not files that slurmsky opens
ABOUT_SCRIPTS = ("translate/", "language/", "site/", "report/", "page/", "options/")
_VARIABLE = re.compile(r"SLURMSKY_[A-Z][A-Z_]*")
_FILE = re.compile(r"(?:controller|agent)\.(?:sock|lock|log)|queue\.db")
_OF_SYSTEM = re.compile(r"/tmp|/(?:bin|etc|home|opt|run|sbin|tmp|usr|var)(?:/[\w.-]+)+")


@cache
def constants() -> list[tuple[str, int, str]]:
    """Strings of the package that may be a path or variable; found by a test, not by each worker at its start."""
    return [found for found in _strings() if "/" in found[2] or "SLURMSKY" in found[2] or "." in found[2]]


def _strings() -> Iterator[tuple[str, int, str]]:
    """(module, line, text) of each string in the package that is no docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        tree = tree_of(path)
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in documents and isinstance(node.value, (str, bytes)):
                text = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
                yield name, node.lineno, text


DECLARED = {value for value in vars(paths).values() if isinstance(value, str)}


def test_every_variable_is_declared() -> None:
    found = {(name, word) for name, _, text in constants() for word in _VARIABLE.findall(text)}
    assert len(found) > 20 and {word for _, word in found} <= DECLARED


def test_a_variable_is_written_out_in_stand_alone_modules_only() -> None:
    # A text for people or for a shell may name a variable among other words.
    twice = {f"{name}:{line}" for name, line, text in constants() if _VARIABLE.fullmatch(text) and name != "paths.py"}
    assert {place.partition(":")[0] for place in twice} <= STAND_ALONE, sorted(twice)


def test_a_file_of_the_state_folder_is_named_by_its_constant() -> None:
    found = {f"{name}:{line}" for name, line, text in constants() if _FILE.fullmatch(text)}
    assert {place.partition(":")[0] for place in found} <= {"paths.py", "client.py"}, sorted(found)


def test_every_path_of_the_system_is_declared() -> None:
    declared = DECLARED | set(paths.OF_THE_SYSTEM) | {paths.SYSTEM_SITE}
    missing = {
        f"{name}:{line} {text}"
        for name, line, text in constants()
        if _OF_SYSTEM.fullmatch(text.rstrip("/"))
        and name != "paths.py"
        and not name.startswith(ABOUT_SCRIPTS)
        and text.rstrip("/") not in declared
    }
    assert not missing, sorted(missing)
