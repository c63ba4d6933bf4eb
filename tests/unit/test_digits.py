"""Words that Python's isdigit accepts and int refuses.

No such word of a user causes a traceback.
"""

from __future__ import annotations

import ast
from pathlib import Path

from syntax_trees import tree_of

import slurmsky
from slurmsky.model.cluster import NodeConfig
from slurmsky.model.job import Node
from slurmsky.model.states import _NODE_WORDS
from slurmsky.report.fields import node_state

ROOT = Path(slurmsky.__file__).parent
#: where values are bytes, of which isdigit is true for 0 to 9 alone
OF_BYTES = {"agent/process/orphans.py", "agent/mpi/pmi_wire.py", "agent/process/gpu_watch.py"}


def test_isdigit_is_called_on_bytes_only() -> None:
    """The method "²".isdigit() is true, and int("²") raises."""
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in ("isdigit", "isnumeric")
    }
    assert found <= OF_BYTES


def test_every_word_of_a_node_state_is_one() -> None:
    node = Node(NodeConfig(name="n1"))
    for word in sorted({word for words in _NODE_WORDS for word in words}):
        assert node_state.matches(node, word) in (True, False)
