"""Ratchets: complex functions, long modules and names that stand twice become fewer, never more."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import slurmsky

PACKAGE = Path(slurmsky.__file__).parent
#: functions above ruff's max-complexity, each marked ``noqa: C901``. Take an entry out when the function is simpler
#: (ruff reports its mark as unused then); add none.
COMPLEX = {
    "client_relay.py:_handle",
    "controller/rules/resources.py:offer_of",
    "report/fields/step_usage.py:usage_fields",
    "translate/scope.py:_command",
}
#: lines of a module; a longer one gives the reason in its docstring, in a paragraph that starts with LONG
MOST_LINES = 400
LONG = "The module exceeds 400 lines because "


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "bin" not in path.relative_to(PACKAGE).parts]


def test_no_further_function_is_above_the_complexity_limit() -> None:
    marked = {
        f"{path.relative_to(PACKAGE)}:{found[1]}"
        for path in modules()
        for found in re.finditer(r"^ *(?:async )?def (\w+)[^\n]*# noqa: C901$", path.read_text(), re.MULTILINE)
    }
    every = sum(path.read_text().count("C901") for path in modules())
    assert marked <= COMPLEX and every == len(marked)
    assert marked >= COMPLEX, "take these out of the list: they are simple now"


def test_a_long_module_gives_its_reason() -> None:
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in modules()}
    long = {name for name, text in texts.items() if text.count("\n") > MOST_LINES}
    reasoned = {name for name, text in texts.items() if f"\n\n{LONG}" in text.split('"""')[1]}
    assert long - reasoned == set(), "split these, or give the reason"
    assert reasoned <= long, "take out the reason: these are short now"


def test_a_module_name_stands_in_one_folder() -> None:
    folders = defaultdict(set)
    for path in modules():
        if path.name not in ("__init__.py", "__main__.py"):
            folders[path.name].add(str(path.parent.relative_to(PACKAGE)))
    assert {name: sorted(found) for name, found in folders.items() if len(found) > 1} == {}


def test_a_class_name_stands_once() -> None:
    places = defaultdict(set)
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: sorted(found) for name, found in places.items() if len(found) > 1} == {}
