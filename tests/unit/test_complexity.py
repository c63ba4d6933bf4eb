"""No complex function, no long module without a reason, no duplicate name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from syntax_trees import tree_of

import slurmsky

PACKAGE = Path(slurmsky.__file__).parent
#: lines of a module; a longer one gives the reason in its docstring, in a paragraph that starts with LONG
MOST_LINES = 400
LONG = "The module exceeds 400 lines because "


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "bin" not in path.relative_to(PACKAGE).parts]


def test_no_function_is_exempt_from_the_complexity_limit() -> None:
    assert [str(path.relative_to(PACKAGE)) for path in modules() if "C901" in path.read_text()] == []


def test_a_long_module_gives_its_reason() -> None:
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in modules()}
    long = {name for name, text in texts.items() if text.count("\n") > MOST_LINES}
    reasoned = {name for name, text in texts.items() if f"\n\n{LONG}" in text.split('"""')[1]}
    assert long - reasoned == set(), "split these, or give the reason"
    assert reasoned <= long, "take out the reason: these are short now"


def test_a_module_name_is_used_in_one_folder() -> None:
    folders = defaultdict(set)
    for path in modules():
        if path.name not in ("__init__.py", "__main__.py"):
            folders[path.name].add(str(path.parent.relative_to(PACKAGE)))
    assert {name: sorted(found) for name, found in folders.items() if len(found) > 1} == {}


def test_a_class_name_is_used_once() -> None:
    places = defaultdict(set)
    for path in modules():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}
