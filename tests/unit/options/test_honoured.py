"""Code reads each srun option with an honoured policy (mapped, agent).

The table is compared with the syntax trees of the package: code outside of the option parser must read
the option's field of a spec. A field without a reader is an option that is accepted and ignored.
"""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from syntax_trees import tree_of
from tables import every

from slurmsky.options import table
from slurmsky.options.table import Option

PACKAGE = Path(table.__file__).parents[1]
#: they parse, keep and describe specs; none of it honours one
_NOT_COUNTED = (
    *("model/", "options/"),
    *("translate/explain", "translate/option_support", "translate/yaml_export", "translate/notes"),
)
#: what a spec is called where it is read: `spec.ntasks`, `step.job.ntasks`, `self.spec.job.ntasks`, `flags.quiet`
_SPECS = ("spec", "step", "flags", "demand")
#: the parser itself answers these, or they are its own checks: option -> who tests it
_BY_THE_PARSER = {
    "help": "test_help_names_every_option",
    "usage": "test_help_names_every_option",
    "version": "test_version",
    "autocomplete": "test_completions",
    # The default since 21.08; that it excludes --exact is checked by the parser. Oracle: inside-options.
    "whole": "test_oracle",
    # Its file becomes --nodelist.
    "nodefile": "test_submit",
    # Only srun's own environment has it: the nodes of the job it is in, which the agent knows itself.
    "SLURM_JOB_NODELIST": "test_oracle",
}
#: shown and of no consequence where the partition shares no nodes, as in Slurm with OverSubscribe=NO
_ONLY_SHOWN = {"comment", "extra", "oversubscribe"}


def _owner(node: ast.expr) -> list[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        names.append(node.id)
    return names


def _is_spec(owner: list[str]) -> bool:
    """``owner``: the names before a field, the last one first."""
    if not owner:
        return False
    if owner[0] == "job":
        return len(owner) > 1 and owner[1] in _SPECS
    return owner[0] in _SPECS or owner[0].endswith("spec")


def _reads(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _is_spec(_owner(node.value)):
            yield node.attr


@functools.cache  # it parses the package: a test's work, not the collection's
def readers() -> dict[str, set[str]]:
    """Field of a spec -> the modules that read it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if not place.startswith(_NOT_COUNTED):
            for field in _reads(path):
                found[field].add(place)
    return found


HONOURED = [option for option in table.load("srun").options if option.policy in ("mapped", "agent")]


def _name(option: Option) -> str:
    return option.name or option.env[0]


@every("option", HONOURED, _name)
def test_an_honoured_option_has_a_reader(option: Option) -> None:
    if _name(option) in _BY_THE_PARSER:
        return
    fields = option.field.split(",")
    assert all(fields), "an honoured option without a field"
    read = {field: readers()[field] for field in fields}
    # The text of -N is kept for display, its two numbers decide.
    read.pop("nodes", None)
    for field, places in read.items():
        shown_only = all(place.startswith("report/") for place in places)
        assert places and (not shown_only or field in _ONLY_SHOWN), f"nobody honours {field}"


@every("option", HONOURED, _name)
def test_options_that_shape_a_step_are_read_on_the_nodes(option: Option) -> None:
    """`agent`: done on the nodes, so that it holds on every engine."""
    if option.policy != "agent" or _name(option) in _BY_THE_PARSER:
        return
    for field in option.field.split(","):
        assert any(place.startswith("agent/") for place in readers()[field]), f"no agent reads {field}"


def test_an_option_without_a_reader_is_found() -> None:
    assert not readers()["msg_timeout_s"]  # policy none: really no reader


def test_every_exception_is_an_option() -> None:
    names = {_name(option) for option in table.load("srun").options}
    assert set(_BY_THE_PARSER) <= names
