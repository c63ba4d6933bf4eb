"""Limits of trackable resources: ``cpu=4,mem=500M,gres/gpu:h100=8``.

Source: slurm src/common/slurmdb_defs.c, slurmdb_format_tres_str.
"""

from __future__ import annotations

from slurmsky.language import memory
from slurmsky.language._grammar import Fault, Grammar
from slurmsky.language.syntax_errors import LanguageError, TresError

#: The order of the checks of limits: by TRES id; gres and licences follow.
ORDER = ("cpu", "mem", "node", "billing")


class _Build:
    def resource(self, name: str, value: str) -> tuple[str, int]:
        word = name.strip()
        word = word.lower() if word.lower() in ORDER else word
        digits = value.strip()
        if word != "mem":
            if not digits.isdecimal():
                raise Fault(value.start_pos)  # type: ignore[attr-defined]  # a lark Token
            return word, int(digits)
        try:
            return word, memory.parse_mib(digits)
        except LanguageError as error:
            raise Fault(value.start_pos) from error  # type: ignore[attr-defined]  # a lark Token

    def start(self, *resources: tuple[str, int]) -> tuple[tuple[str, int], ...]:
        return tuple(sorted(dict(resources).items(), key=lambda pair: (rank(pair[0]), pair[0])))


_GRAMMAR: Grammar[tuple[tuple[str, int], ...]] = Grammar("tres", _Build(), TresError)


def parse(text: str) -> tuple[tuple[str, int], ...]:
    """Pairs (name, count) by TRES id, memory in MiB.

    The last count of a repeated name applies. Raises TresError.

    >>> parse("gres/gpu=8,mem=2G,cpu=4")
    (('cpu', 4), ('mem', 2048), ('gres/gpu', 8))
    """
    return _GRAMMAR.parse(text)


def rank(name: str) -> int:
    """The sort key of a resource."""
    return ORDER.index(name) if name in ORDER else len(ORDER)


def format_tres(tres: tuple[tuple[str, int], ...]) -> str:
    """Text of limits as sacctmgr prints it.

    It is sorted by name, with memory in the largest exact unit.

    >>> format_tres(parse("node=2,mem=1G,cpu=2")), format_tres(parse("mem=1500"))
    ('cpu=2,mem=1G,node=2', 'mem=1500M')
    """
    return ",".join(f"{name}={memory.format_mib(count) if name == 'mem' else count}" for name, count in sorted(tres))
