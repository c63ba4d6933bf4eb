"""--signal: `B:USR1@300` <-> signal, time and recipient; signal names.

Source: slurm src/common/proc_args.c get_signal_opts, sig_name2num, signal_opts_to_cmdline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import SignalError as SignalError

DEFAULT_SECONDS = 60
# Slurm's own table, with Linux's numbers: Slurm knows no other name, and accepts any other number.
NUMBERS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ABRT": 6,
    "KILL": 9,
    "ALRM": 14,
    "TERM": 15,
    "CHLD": 17,
    "USR1": 10,
    "USR2": 12,
    "PIPE": 13,
    "URG": 23,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "TTIN": 21,
    "TTOU": 22,
    "XCPU": 24,
}
_NAMES = {value: name for name, value in NUMBERS.items()}


@dataclass(frozen=True)
class SignalSpec:
    """Request to send `signal` `seconds` before the time limit.

    With `batch` only the batch shell gets the signal, else the steps. `reservation` (R): a job that overlaps a
    reservation may start, and the reservation's start ends it.

    >>> str(parse("rb:sigusr1@300")), str(parse("10"))
    ('RB:USR1@300', 'USR1')
    """

    signal: int
    seconds: int = DEFAULT_SECONDS
    batch: bool = False
    reservation: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.signal <= 0xFFFF or not 0 <= self.seconds <= 0xFFFF:
            raise ValueError(f"no signal: {self!r}")

    @property
    def recipient(self) -> str:
        """The part of the job that gets the signal: its "batch" shell or its "steps"."""
        return "batch" if self.batch else "steps"

    def __str__(self) -> str:
        flags = ("R" if self.reservation else "") + ("B" if self.batch else "")
        seconds = "" if self.seconds == DEFAULT_SECONDS else f"@{self.seconds}"
        return (f"{flags}:" if flags else "") + name_of(self.signal) + seconds


class _Build:
    def start(self, flags: Optional[str], name: str, when: Optional[str]) -> SignalSpec:
        flags = (flags or "").upper()
        signal = _number(name)
        wait = DEFAULT_SECONDS if when is None else number(when[1:] or "0")
        if not 0 < signal <= 0xFFFF or not 0 <= wait <= 0xFFFF:
            raise Fault(0)
        return SignalSpec(signal, wait, "B" in flags, "R" in flags)

    def signal(self, token: str) -> int:
        return _number(token)


def _number(token: str) -> int:
    word = token.strip().upper()
    if word.lstrip("+").isdecimal():
        return number(word)
    return NUMBERS[word[3:] if word.startswith("SIG") else word]


_BUILD = _Build()
_SPEC: Grammar[SignalSpec] = Grammar("signalspec", _BUILD, SignalError)
_SIGNAL: Grammar[int] = Grammar("signalspec", _BUILD, SignalError, start="signal")


def parse(text: str) -> SignalSpec:
    """Parse --signal.

    Raises SignalError.

    >>> parse("B:USR1@300")
    SignalSpec(signal=10, seconds=300, batch=True, reservation=False)
    """
    return _SPEC.parse(text)


def parse_signal(text: str) -> int:
    """Number of a signal given by name or number.

    Names may have SIG and any case, as in scancel -s. Raises SignalError with scancel's message.

    >>> parse_signal("sigterm"), parse_signal("99")
    (15, 99)
    """
    try:
        signal = _SIGNAL.parse(text)
    except SignalError as exc:
        raise SignalError(text, exc.pos, f"Unknown job signal: {text}") from None
    if signal < 1:
        raise SignalError(text, 0, f"Unknown job signal: {text}")
    return signal


def name_of(signal: int) -> str:
    """Name of a signal, or its number as text. USR1 is the name of 10."""
    return _NAMES.get(signal, str(signal))
