"""The troubleshooting page lists every reason, every state and every message of slurmsky."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from syntax_trees import tree_of
from tables import every

from slurmsky.model.states import SHOWN_FLAGS, JobState, NodeState
from slurmsky.report.text import why

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "troubleshooting.md").read_text().replace("`", "").split())
#: what raises a message that a user reads, beside literals that begin with our name
RAISERS = {"CannotStart", "EngineError", "StoreError", "NoController", "Unable"}
#: pieces of a message shorter than this occur in other messages
LEAST = 14


def literal(node: ast.expr) -> str | None:
    """A text with a NUL for each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd]", "\0", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return None


def messages() -> Iterator[str]:
    """The longest fixed piece of each message of ours. Reads all modules."""
    found = set()
    for path in sorted((ROOT / "slurmsky").rglob("*.py")):
        tree = tree_of(path)
        docs = {id(node.body[0].value) for node in ast.walk(tree)
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
                and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in docs:
                text = literal(node)
                if text and text.startswith("slurmsky: "):
                    found.add(text)
            elif isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                found |= {text for argument in node.args if name in RAISERS and (text := literal(argument))}
    for text in found:
        piece = max((part.strip() for part in text.split("\0")), key=len)
        if len(piece.removeprefix("slurmsky:").strip()) >= LEAST:
            yield " ".join(piece.split())


def test_every_message_is_explained() -> None:
    found = sorted({re.sub("^slurmsky: (error: )?", "", message) for message in messages()})
    assert len(found) > 30
    assert [message for message in found if message not in PAGE] == []


@every("reason", sorted(name for name, row in why.reasons().items() if row["kind"] != "state"))
def test_every_reason_is_explained(reason: str) -> None:
    assert re.search(rf"[| ,]{reason}[ ,|]", PAGE)


@every("state", [state.name for state in JobState] + [long for _, long, _ in SHOWN_FLAGS])
def test_every_state_is_explained(state: str) -> None:
    assert f"| {state} |" in PAGE


@every("state", [state.value for state in NodeState])
def test_every_state_of_a_node_is_explained(state: str) -> None:
    assert re.search(rf"\b{state}\b", PAGE)
