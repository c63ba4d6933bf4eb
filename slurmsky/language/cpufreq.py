"""--cpu-freq: `low-high:ondemand` <-> frequencies and governor.

Source: slurm src/common/cpu_frequency.c cpu_freq_verify_cmdline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Grammar
from slurmsky.language.syntax_errors import CpuFreqError as CpuFreqError

_LEVELS = ("low", "medium", "highm1", "high")
_GOVERNORS = ("conservative", "ondemand", "performance", "powersave", "userspace", "schedutil")


@dataclass(frozen=True)
class CpuFreq:
    """Frequencies in kHz or by name, and a governor.

    `maximum` "" means one frequency.

    >>> str(parse("Low-High:OnDemand")), parse("performance").governor
    ('low-high:ondemand', 'performance')
    """

    minimum: str = ""
    maximum: str = ""
    governor: str = ""

    def __str__(self) -> str:
        if not self.minimum:
            return self.governor
        most = f"-{self.maximum}" if self.maximum else ""
        return self.minimum + most + (f":{self.governor}" if self.governor else "")


class _Build:
    def cpu(self, first: str, second: Optional[str], governor: Optional[str]) -> CpuFreq:
        return CpuFreq(first.lower(), (second or "").lower(), (governor or "").lower())


_GRAMMAR: Grammar[CpuFreq] = Grammar("keyvalues", _Build(), CpuFreqError, start="cpu")


def parse(text: str) -> CpuFreq:
    """Parse --cpu-freq. Raises CpuFreqError with the line that Slurm prints first."""
    try:
        freq = _GRAMMAR.parse(text)
    except CpuFreqError as exc:
        low, dash, _ = text.partition("-")
        low, colon, governor = low.partition(":")
        if colon and not dash and _known(low):
            message = f"gov on cpu-frec ({governor}) illegal without max"
        else:
            word = re.split("[:-]", text[text.rfind("-", 0, exc.pos) + 1 :])[0]
            message = f'unrecognized --cpu-freq argument "{word}"'
        raise CpuFreqError(text, exc.pos, message) from None
    if freq.maximum and _order(freq.maximum) < _order(freq.minimum):
        raise CpuFreqError(text, 0, f"min cpu-frec ({freq.minimum}) must be < max cpu-freq ({freq.maximum})")
    if freq.minimum in _GOVERNORS and not freq.maximum:
        return CpuFreq(governor=freq.minimum)
    return freq


def _known(word: str) -> bool:
    return word.isdecimal() or word.lower() in _LEVELS + _GOVERNORS


def _order(word: str) -> tuple[int, int]:
    """Sort key of a frequency. Slurm's codes for named levels exceed any number of kHz."""
    if word.isdecimal():
        return 0, min(int(word[:18]), 2**31)
    return 1, (_LEVELS + _GOVERNORS).index(word)
