"""--constraint: `intel&(gpu|amd)` <-> expression over node features.

Source: slurm src/slurmctld/job_mgr.c and node_scheduler.c (build_feature_list), man sbatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import ConstraintError as ConstraintError


@dataclass(frozen=True)
class Feature:
    """One feature, which `count` nodes must have. 0: every node of the job must have the feature."""

    name: str
    count: int = 0

    def __str__(self) -> str:
        return self.name + (f"*{self.count}" if self.count else "")

    def matches(self, features: Collection[str]) -> bool:
        """Return whether a node with these features has this feature."""
        return self.name in features

    def names(self) -> Iterator[str]:
        """The name of the feature."""
        yield self.name


@dataclass(frozen=True)
class TermGroup:
    """Terms with operators, evaluated from left to right.

    `kind` is "" for the whole expression, "(" for a group, "[" for alternatives of which all nodes of a job must have
    the same one.
    """

    terms: tuple[Union[Feature, TermGroup], ...]
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

    def matches(self, features: Collection[str]) -> bool:
        """Return whether a node satisfies the expression, ignoring counts."""
        result = self.terms[0].matches(features)
        for operator, term in zip(self.operators, self.terms[1:]):
            also = term.matches(features)
            result = result or also if operator == "|" else result and also
        return result

    def choices(self) -> list[Alternative]:
        """Alternatives of the expression, in the order to try."""
        if self.kind == "(" and self.count:
            return [Alternative((), (self,))]
        if self.kind == "(" or not any(_spans_nodes(term) for term in self.terms):
            if self.kind == "[" and "|" in self.operators:
                return [Alternative((term,)) for term in self.terms]
            return [Alternative((self,))]
        found = _choices(self.terms[0])
        for operator, term in zip(self.operators, self.terms[1:]):
            also = _choices(term)
            found = found + also if operator == "|" else [one + other for one in found for other in also]
        return found

    def names(self) -> Iterator[str]:
        """The names of all features in the expression."""
        for term in self.terms:
            yield from term.names()


@dataclass(frozen=True)
class Alternative:
    """One way to satisfy an expression. `every` has terms for every node, `some` has terms for ``count`` nodes."""

    every: tuple[Union[Feature, TermGroup], ...]
    some: tuple[Union[Feature, TermGroup], ...] = ()

    def __add__(self, other: Alternative) -> Alternative:
        return Alternative(self.every + other.every, self.some + other.some)

    def matches(self, features: Collection[str]) -> bool:
        """Return whether a node with these features can belong to the job."""
        return all(term.matches(features) for term in self.every)

    def pick(self, nodes: Sequence[tuple[str, Collection[str]]]) -> Optional[list[str]]:
        """Choose the nodes for the counts; None if too few fit.

        ``nodes``: (name, features) in the order of preference.
        """
        picked: list[str] = []
        for term in sorted(self.some, key=lambda term: sum(term.matches(features) for _, features in nodes)):
            able = [name for name, features in nodes if name not in picked and term.matches(features)]
            if len(able) < term.count:
                return None
            picked += able[: term.count]
        return picked


def _spans_nodes(term: Union[Feature, TermGroup]) -> bool:
    """Return whether a term depends on several nodes. Such a term has a count, or is a list of alternatives."""
    return bool(term.count) or (
        isinstance(term, TermGroup) and (term.kind == "[" or any(map(_spans_nodes, term.terms)))
    )


def _choices(term: Union[Feature, TermGroup]) -> list[Alternative]:
    if isinstance(term, TermGroup):
        return term.choices()
    return [Alternative((), (term,)) if term.count else Alternative((term,))]


class _Build:
    def feature(self, name: str, count: Optional[str]) -> Feature:
        return Feature(str(name), _count(count))

    def group(self, *parts: object) -> TermGroup:
        return _group("(", parts)

    def bracket(self, *parts: object) -> TermGroup:
        return _group("[", parts)

    def term(self, part: object) -> object:
        return part

    inner = term

    def start(self, *parts: object) -> TermGroup:
        return _group("", (*parts, None))


def _count(count: Optional[str]) -> int:
    value = number(count[1:]) if count else 0
    if count and not 0 < value < 2**31:
        raise Fault(count.start_pos)  # type: ignore[attr-defined]  # a lark Token
    return value


def _group(kind: str, parts: tuple[object, ...]) -> TermGroup:
    *items, count = parts
    operators = tuple("|" if op == "|" else "&" for op in items[1::2])  # a comma means AND
    return TermGroup(tuple(items[::2]), operators, kind, _count(count))  # type: ignore[arg-type]


_GRAMMAR: Grammar[TermGroup] = Grammar("constraint", _Build(), ConstraintError)


def parse(text: str) -> TermGroup:
    """The expression of --constraint or --prefer.  Raises ConstraintError.

    >>> found = parse("intel&(gpu|fpga)")
    >>> found.matches({"intel", "gpu"}), found.matches({"amd", "gpu"}), list(found.names()), str(found)
    (True, False, ['intel', 'gpu', 'fpga'], 'intel&(gpu|fpga)')
    >>> [choice] = parse("rack1*2&rack2*1").choices()
    >>> choice.pick([("n1", {"rack2"}), ("n2", {"rack1"}), ("n3", {"rack1", "rack2"})])
    ['n2', 'n3', 'n1']
    >>> [str(choice.every[0]) for choice in parse("[rack1|rack2]").choices()]
    ['rack1', 'rack2']
    """
    return _GRAMMAR.parse(text)
