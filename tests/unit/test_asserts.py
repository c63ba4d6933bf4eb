"""Every test asserts, itself or by a helper of the tests."""

from __future__ import annotations

import ast
from pathlib import Path

from syntax_trees import tree_of

TESTS = Path(__file__).parents[1]
ASSERTING = {"raises", "warns", "fail", "check_call", "check_output"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def calls(function: Function) -> set[str]:
    """Names of called functions and parameters; a fixture may assert."""
    found = {argument.arg for argument in function.args.args}
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            found.add(node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""))
    return found


def asserts(function: Function) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(function)) or bool(calls(function) & ASSERTING)


def silent(trees: dict[str, ast.Module]) -> list[str]:
    """Tests that reach no assertion by the names that they call; a name of the same file comes first."""
    functions = {
        name: {node.name: node for node in ast.walk(tree) if isinstance(node, Function)} for name, tree in trees.items()
    }
    shared: dict[str, list[tuple[str, Function]]] = {}
    for file, found in functions.items():
        for name, function in found.items():
            shared.setdefault(name, []).append((file, function))
    reached: dict[int, bool] = {}

    def reaches(file: str, function: Function) -> bool:
        if id(function) not in reached:
            reached[id(function)] = False  # a circle adds nothing
            reached[id(function)] = asserts(function) or any(
                reaches(*place)
                for name in calls(function)
                for place in ([(file, functions[file][name])] if name in functions[file] else shared.get(name, ()))
            )
        return reached[id(function)]

    return [
        f"{file}:{function.lineno} {name}"
        for file, found in functions.items()
        for name, function in found.items()
        if name.startswith("test_") and not reaches(file, function)
    ]


def test_every_test_asserts() -> None:
    trees = {str(path.relative_to(TESTS)): tree_of(path) for path in TESTS.rglob("*.py")}
    assert silent(trees) == []


def test_a_silent_test_is_found() -> None:
    source = "def check(): assert 1\ndef test_a(): check()\ndef test_b(): print(1)\ndef test_c(): test_b()\n"
    assert silent({"test_x.py": ast.parse(source)}) == ["test_x.py:3 test_b", "test_x.py:4 test_c"]
