"""--propagate: `CPU,RLIMIT_NOFILE` <-> resource limits that a job inherits.

Source: slurm src/common/slurm_rlimits_info.c.  A comma list, read by names.lark.
"""

from __future__ import annotations

from dataclasses import dataclass

from slurmsky.language import userlist
from slurmsky.language.syntax_errors import RlimitError as RlimitError

NAMES = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS")


@dataclass(frozen=True)
class Rlimits:
    """Names from NAMES, without RLIMIT_.

    >>> str(parse("rlimit_cpu,AS")), str(parse("ALL")), str(parse("none"))
    ('CPU,AS', 'ALL', 'NONE')
    """

    names: frozenset[str]

    def __str__(self) -> str:
        if len(self.names) == len(NAMES):
            return "ALL"
        return ",".join(name for name in NAMES if name in self.names) or "NONE"


def parse(text: str) -> Rlimits:
    """Parse --propagate: ALL, NONE, or a list.

    An empty text (the bare option) means ALL. Raises RlimitError with the line that Slurm prints first: `Bad rlimit
    name: X`.
    """
    words = [word.upper() for word in userlist.parse(text)]
    if not words or words == ["ALL"]:
        return Rlimits(frozenset(NAMES))
    if words == ["NONE"]:
        return Rlimits(frozenset())
    names = set()
    for word, written in zip(words, userlist.parse(text)):
        name = word[len("RLIMIT_") :] if word.startswith("RLIMIT_") else word
        if name not in NAMES:
            raise RlimitError(text, text.find(written), f"Bad rlimit name: {written}")
        names.add(name)
    return Rlimits(frozenset(names))
