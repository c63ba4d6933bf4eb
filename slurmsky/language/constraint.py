"""--constraint: `intel&(gpu|amd)` <-> an expression over the features of nodes.

Source: slurm src/slurmctld/job_mgr.c and node_scheduler.c (build_feature_list), man sbatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import ConstraintError as ConstraintError


@dataclass(frozen=True)
class Feature:
    """One feature; `count` nodes must have it; 0: every node of the job."""

    name: str
    count: int = 0

    def __str__(self) -> str:
        return self.name + (f"*{self.count}" if self.count else "")

    def matches(self, features: Collection[str]) -> bool:
        """Whether a node with these features has this feature."""
        return self.name in features

    def names(self) -> Iterator[str]:
        """The name of the feature."""
        yield self.name


@dataclass(frozen=True)
class Group:
    """Terms with the operators between them, evaluated from left to right.

    `kind` is "" for the whole expression, "(" for a group, "[" for alternatives of which all nodes of a job must have
    the same one.
    """

    terms: tuple[Union[Feature, Group], ...]
    operators: tuple[str, ...] = ()
    kind: str = ""
    count: int = 0

    def __post_init__(self) -> None:
        if len(self.terms) != len(self.operators) + 1 or self.kind not in ("", "(", "["):
            raise ValueError(f"no expression: {self!r}")

    def __str__(self) -> str:
        rest = zip(self.operators, self.terms[1:])
        text = str(self.terms[0]) + "".join(operator + str(term) for operator, term in rest)
        close = {"": "", "(": ")", "[": "]"}[self.kind]
        return self.kind + text + close + (f"*{self.count}" if self.count else "")

    @property
    def counted(self) -> bool:
        """Whether a term applies to a number of nodes only, so that a node needs one of the terms, not all."""
        return any(term.count or (isinstance(term, Group) and term.counted) for term in self.terms)

    def matches(self, features: Collection[str]) -> bool:
        """Whether a node with these features can be allocated to the job."""
        either = self.counted
        result = self.terms[0].matches(features)
        for operator, term in zip(self.operators, self.terms[1:]):
            also = term.matches(features)
            result = result or also if operator == "|" or either else result and also
        return result

    def names(self) -> Iterator[str]:
        """The names of all features in the expression."""
        for term in self.terms:
            yield from term.names()


class _Build:
    def feature(self, name: str, count: Optional[str]) -> Feature:
        return Feature(str(name), _count(count))

    def group(self, *parts: object) -> Group:
        return _group("(", parts)

    def bracket(self, *parts: object) -> Group:
        return _group("[", parts)

    def term(self, part: object) -> object:
        return part

    inner = term

    def start(self, *parts: object) -> Group:
        return _group("", (*parts, None))


def _count(count: Optional[str]) -> int:
    value = number(count[1:]) if count else 0
    if count and not 0 < value < 2**31:
        raise Fault(count.start_pos)  # type: ignore[attr-defined]  # a lark Token
    return value


def _group(kind: str, parts: tuple[object, ...]) -> Group:
    *items, count = parts
    operators = tuple("|" if op == "|" else "&" for op in items[1::2])  # a comma is an AND
    return Group(tuple(items[::2]), operators, kind, _count(count))  # type: ignore[arg-type]


_GRAMMAR: Grammar[Group] = Grammar("constraint", _Build(), ConstraintError)


def parse(text: str) -> Group:
    """The expression of --constraint or --prefer.  Raises ConstraintError.

    >>> wish = parse("intel&(gpu|fpga)")
    >>> wish.matches({"intel", "gpu"}), wish.matches({"amd", "gpu"}), list(wish.names()), str(wish)
    (True, False, ['intel', 'gpu', 'fpga'], 'intel&(gpu|fpga)')
    >>> parse("rack1*2&rack2*1").matches({"rack2"})
    True
    """
    return _GRAMMAR.parse(text)
