"""--acctg-freq: `30` or `task=30,energy=60` <-> sampling intervals.

Source: slurm src/common/proc_args.c validate_acctg_freq, src/interfaces/acct_gather.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Grammar, number
from slurmsky.language.syntax_errors import AcctgFreqError as AcctgFreqError

KINDS = ("task", "energy", "network", "filesystem")


@dataclass(frozen=True)
class AcctgFreq:
    """Seconds between samples by type; 0 disables a type.

    >>> str(parse("30")), parse("energy=60,task=5").seconds("task")
    ('task=30', 5)
    """

    intervals: tuple[tuple[str, int], ...] = ()

    def seconds(self, kind: str) -> Optional[int]:
        """Interval of a type, or None for a type not named."""
        return dict(self.intervals).get(kind)

    def __str__(self) -> str:
        return ",".join(f"{kind}={seconds}" for kind, seconds in self.intervals)


class _Build:
    def interval(self, kind: Optional[str], seconds: str) -> tuple[str, int]:
        return (kind or "task").lower(), number(seconds)

    def acctg(self, *intervals: tuple[str, int]) -> AcctgFreq:
        return AcctgFreq(tuple(dict(intervals).items()))


_GRAMMAR: Grammar[AcctgFreq] = Grammar("keyvalues", _Build(), AcctgFreqError, start="acctg")


def parse(text: str) -> AcctgFreq:
    """Parse --acctg-freq; a bare number is the interval of tasks.

    Raises AcctgFreqError with a line for each invalid item.
    """
    found: dict[str, int] = {}
    invalid = []
    for item in filter(None, text.split(",")):
        try:
            found.update(_GRAMMAR.parse(item).intervals)
        except AcctgFreqError:
            invalid.append(item)
    if invalid:
        lines = (f"Invalid --acctg-freq specification: {item}" for item in invalid)
        raise AcctgFreqError(text, text.index(invalid[0]), "\n".join(lines))
    return AcctgFreq(tuple(found.items()))
