"""Memory sizes (`4G` <-> MiB), and numbers with a unit letter.

Source: slurm src/common/proc_args.c str_to_mbytes, src/common/slurm_protocol_api.c convert_num_unit2.
"""

from __future__ import annotations

from typing import Optional, Union

from slurmsky.language._grammar import HUGE, Fault, Grammar, number
from slurmsky.language.syntax_errors import MemoryError_

UNITS = "KMGTP"  # convert_num_unit's letters; the plain number precedes K


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


def convert_num_unit(
    value: Union[int, float],
    unit: str = "",
    *,
    to: str = "",
    exact: bool = False,
    noconvert: bool = False,
    divisor: int = 1024,
) -> str:
    """Number with its unit letter, as sacct, squeue and scontrol.

    `unit` is the letter of `value` ("" for plain numbers, "K" to "P"). `to` selects one letter (sacct --units);
    `noconvert` keeps the unit; `exact` takes a larger unit only while the result is exact, halves included; otherwise
    the number gets the largest unit that it reaches.

    >>> convert_num_unit(1536, "M"), convert_num_unit(4000, "M", exact=True), convert_num_unit(1572864, "K")
    ('1.50G', '4000M', '1.50G')
    >>> convert_num_unit(2048, "M", to="K"), convert_num_unit(2048, "M", noconvert=True)
    ('2097152K', '2048M')
    """
    if int(value) == 0:
        return "0"
    letters = ["", *UNITS]
    at = letters.index(unit)
    number_: float = value
    if to:
        number_ = value * float(divisor) ** (at - letters.index(to))
        at = letters.index(to)
    elif not noconvert:
        while number_ >= divisor and at < len(UNITS) and (not exact or int(number_) % (divisor // 2) == 0):
            number_ /= divisor
            at += 1
    return f"{int(number_)}{letters[at]}" if number_ == int(number_) else f"{number_:.2f}{letters[at]}"
