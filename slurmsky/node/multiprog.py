"""srun's --multi-prog file: which program each rank runs. Pure. Source: src/srun/libsrun/multi_prog.c."""

from __future__ import annotations

import shlex


class MultiProgError(ValueError):
    """The file is not one; the text is Slurm's."""


def programs(text: str, name: str, ntasks: int) -> list[list[str]]:
    """argv of each rank. ``%t`` is the rank, ``%o`` its offset in the line's list.

    >>> programs("0-1 echo %t %o\\n* true\\n", "f", 3)
    [['echo', '0', '0'], ['echo', '1', '1'], ['true']]
    """
    found: list[list[str]] = [[] for _ in range(ntasks)]
    for line in text.replace("\\\n", "").split("\n"):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        ranks_text, _, command = line.partition(" ") if " " in line else line.partition("\t")
        try:
            words = shlex.split(command)
        except ValueError:
            words = command.split()
        ranks = range(ntasks) if ranks_text == "*" else _ranks(ranks_text, name)
        for offset, rank in enumerate(ranks):
            if rank < ntasks and not (ranks_text == "*" and found[rank]):
                found[rank] = [word.replace("%t", str(rank)).replace("%o", str(offset)) for word in words]
    for rank, argv in enumerate(found):
        if not argv:
            raise MultiProgError("Configuration file %s invalid, no record for task id %d" % (name, rank))
    return found


def _ranks(text: str, name: str) -> list[int]:
    ranks: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise MultiProgError("Configuration file %s invalid" % name)
        ranks += range(int(first), int(last or first) + 1)
    return ranks
