"""Generic resources: `gpu:a100:4` of --gres, `a100:4` of --gpus*.

Source: slurm src/common/slurm_protocol_defs.c slurm_get_next_tres, src/interfaces/gres.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import HUGE, Fault, Grammar, number
from slurmsky.language.memory import UNITS
from slurmsky.language.syntax_errors import GresError as GresError


@dataclass(frozen=True)
class Gres:
    """`count` devices of one name, and optionally of one type.

    >>> str(Gres("gpu", "a100", 4)), Gres("gpu").gpus, Gres("gpu", "a100", 2).gpus
    ('gpu:a100:4', '1', 'a100:2')
    """

    name: str
    type: str = ""
    count: int = 1
    place: str = ""  # suffix in scontrol show node: S:0-1 (sockets), IDX:0-3 (devices)

    def __post_init__(self) -> None:
        if not self.name or self.count < 0:
            raise ValueError(f"no generic resource: {self!r}")

    def __str__(self) -> str:
        place = f"({self.place})" if self.place else ""
        return ":".join(filter(None, (self.name, self.type, str(self.count)))) + place

    @property
    def gpus(self) -> str:
        """The device count as --gpus and related options write it."""
        return f"{self.type}:{self.count}" if self.type else str(self.count)


class _Build:
    def gres(self, name: str, kind: Optional[str], count: Optional[str], place: Optional[str]) -> Gres:
        return Gres(str(name), str(kind or ""), _count(count[1:] if count else "1"), place[1:-1] if place else "")

    def bare(self, count: str) -> Gres:
        return Gres("gpu", "", _count(count))

    def typed(self, kind: str, count: Optional[str]) -> Gres:
        return Gres("gpu", str(kind), _count(count[1:] if count else "1"))

    def start(self, *items: Gres) -> tuple[Gres, ...]:
        return items

    gpus = start


def _count(text: str) -> int:
    digits = text.rstrip("kmgtpKMGTP")
    scale = 1024 ** (UNITS.index(text[-1].upper()) + 1) if digits != text else 1
    value = number(digits)
    if value * scale >= HUGE:
        raise Fault(0)
    return value * scale


_BUILD = _Build()
_GRES: Grammar[tuple[Gres, ...]] = Grammar("gres", _BUILD, GresError)
_GPUS: Grammar[tuple[Gres, ...]] = Grammar("gres", _BUILD, GresError, start="gpus")


def parse(text: str) -> tuple[Gres, ...]:
    """Parse --gres: `name[:type][:count]`, by default one device.

    A count may have the suffixes K to P, in 1024s. `gpu:a100` names a type, since a100 is not a number. The caller
    handles `none`. Raises GresError.

    >>> parse("gpu:a100:4,shard") == (Gres("gpu", "a100", 4), Gres("shard"))
    True
    """
    return _GRES.parse(text)


def parse_gpus(text: str) -> tuple[Gres, ...]:
    """Parse --gpus, --gpus-per-node, -socket, -task: `[type:]count`.

    The default count is 1.

    >>> parse_gpus("4") == (Gres("gpu", "", 4),), parse_gpus("a100:2,h100")[1].type
    (True, 'h100')
    """
    return _GPUS.parse(text)
