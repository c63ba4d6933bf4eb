"""Comma lists of names: users, partitions, accounts, states.

Source: strtok_r(list, ",") in slurm src/squeue/opts.c _build_str_list and everywhere else.
"""

from __future__ import annotations

from slurmsky.language._grammar import Grammar
from slurmsky.language.syntax_errors import UserListError as UserListError


class _Build:
    def start(self, *names: str) -> tuple[str, ...]:
        return tuple(map(str, names))


_GRAMMAR: Grammar[tuple[str, ...]] = Grammar("names", _Build(), UserListError)


def parse(text: str) -> tuple[str, ...]:
    """Parse names in order.

    Empty items are skipped, blanks are part of a name.

    >>> parse("root,,ada")
    ('root', 'ada')
    """
    if "," not in text:  # a single name needs no grammar
        return (text,) if text else ()
    return _GRAMMAR.parse(text)
