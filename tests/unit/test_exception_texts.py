"""An exception is always true; ``str(error)`` decides whether it has a text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from syntax_trees import tree_of

PACKAGE = Path(__file__).parents[2] / "slurmsky"


def judged(tree: ast.Module) -> Iterator[int]:
    """Lines that use a caught exception itself as a truth value."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler):
            continue
        for node in (node for statement in handler.body for node in ast.walk(statement)):
            tests = node.values[:-1] if isinstance(node, ast.BoolOp) else [getattr(node, "test", None)]
            if any(isinstance(test, ast.Name) and test.id == handler.name for test in tests):
                yield node.lineno


def test_no_message_takes_an_exception_for_its_text() -> None:
    assert list(judged(ast.parse("try: f()\nexcept OSError as error:\n    print(error or 'none')"))) == [3]
    found = [f"{path}:{line}" for path in sorted(PACKAGE.rglob("*.py")) for line in judged(tree_of(path))]
    assert found == []
