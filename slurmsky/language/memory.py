"""Memory sizes (`4G` <-> MiB), and numbers with a unit letter.

Source: slurm src/common/proc_args.c str_to_mbytes, src/common/slurm_protocol_api.c convert_num_unit2.
"""

from __future__ import annotations

from typing import Optional

from slurmsky.language._grammar import HUGE, Fault, Grammar, number
from slurmsky.language.syntax_errors import MemoryError_

UNITS = "KMGTP"


class _Build:
    def start(self, digits: str, unit: Optional[str]) -> int:
        value = number(digits)
        if value < 0 or value == HUGE:
            raise Fault(0)
        letter = unit[0].upper() if unit else "M"
        if letter == "K":
            return -(-value // 1024)  # rounds up
        return int(value * 1024 ** "MGT".index(letter))


_GRAMMAR: Grammar[int] = Grammar("memory", _Build(), MemoryError_)


def parse_mib(text: str) -> int:
    """Parse a memory size to MiB.

    A size is a whole number with K, M, G or T, each with an optional B; the default is M. K rounds up to the next MiB.
    The caller handles 0 (all memory of the node). Raises MemoryError_.

    >>> parse_mib("4G"), parse_mib("1KB"), parse_mib("5000")
    (4096, 1, 5000)
    """
    # Digits alone need no grammar: they are MiB.
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return int(text)
    return _GRAMMAR.parse(text)


def format_mib(mib: int) -> str:
    """MiB with the largest exact unit, halves included, as in scontrol.

    >>> format_mib(1536), format_mib(4000), format_mib(4096)
    ('1.50G', '4000M', '4G')
    """
    if mib == 0:
        return "0"
    number, at = float(mib), UNITS.index("M")
    while number >= 1024 and at < len(UNITS) - 1 and int(number) % 512 == 0:
        number /= 1024
        at += 1
    return f"{int(number)}{UNITS[at]}" if number == int(number) else f"{number:.2f}{UNITS[at]}"
