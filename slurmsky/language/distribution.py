"""--distribution: `cyclic:block,nopack` <-> order of tasks over nodes and CPUs.

Source: slurm src/common/proc_args.c verify_dist_type, format_task_dist_states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from slurmsky.language._grammar import Fault, Grammar, number
from slurmsky.language.syntax_errors import DistributionError as DistributionError

NODE_WORDS = ("block", "cyclic", "plane", "arbitrary")
LEVEL_WORDS = ("block", "cyclic", "fcyclic")
PLANE_MISSING = "Invalid plane size or size not specified"


@dataclass(frozen=True)
class Distribution:
    """Distribution of tasks to nodes, sockets and cores.

    "" means not given. `pack`: fill nodes (True) or spread (False), None: not given.

    >>> str(parse("*:fcyclic,NoPack")), str(parse("plane=4")), str(parse("hostfile"))
    ('block:fcyclic,nopack', 'plane=4', 'arbitrary')
    """

    nodes: str = ""
    sockets: str = ""
    cores: str = ""
    plane_size: int = 0
    pack: Optional[bool] = None

    def __post_init__(self) -> None:
        known = self.nodes in ("", *NODE_WORDS) and {self.sockets, self.cores} <= {"", *LEVEL_WORDS}
        if not known or (self.plane_size > 0) != (self.nodes == "plane"):
            raise ValueError(f"no distribution: {self!r}")

    def __str__(self) -> str:
        words = (
            f"plane={self.plane_size}"
            if self.plane_size
            else ":".join(filter(None, (self.nodes, self.sockets, self.cores)))
        )
        pack = {None: "", True: "pack", False: "nopack"}[self.pack]
        return ",".join(filter(None, (words, pack)))


class _Build:
    def plane(self, word: str, size: Optional[str]) -> Distribution:
        count = number(size) if size else 0
        if not 0 < count < 2**31:
            raise Fault(len(word), PLANE_MISSING)
        return Distribution("plane", plane_size=count)

    def only_pack(self, pack: str) -> Distribution:
        return Distribution(pack=pack.lower() == "pack")

    def whole(self, word: str, pack: Optional[str]) -> Distribution:
        return Distribution("arbitrary", pack=_packed(pack))

    def level(self, word: str) -> str:
        return word.lower()

    def levels(self, nodes: str, sockets: Optional[str], cores: Optional[str], pack: Optional[str]) -> Distribution:
        if nodes == "fcyclic":
            raise Fault(0)
        nodes = "block" if nodes == "*" else nodes
        sockets = "cyclic" if sockets == "*" else sockets or ""
        cores = sockets if cores == "*" else cores or ""  # cores default to the distribution of sockets
        return Distribution(nodes, sockets, cores, pack=_packed(pack))


def _packed(pack: Optional[str]) -> Optional[bool]:
    return None if pack is None else pack.lower() == "pack"


_GRAMMAR: Grammar[Distribution] = Grammar("distribution", _Build(), DistributionError)


def parse(text: str, plane_size: str = "") -> Distribution:
    """Parse -m, in any case.

    `plane_size` is SLURM_DIST_PLANESIZE, for a plane without size. Raises DistributionError; for a plane without a
    valid size its message is the line that Slurm prints first.
    """
    if plane_size and text.lower().startswith("plane") and "=" not in text:
        text = f"plane={plane_size}"
    try:
        return _GRAMMAR.parse(text)
    except DistributionError as exc:
        plane = text.lower().startswith("plane")
        raise DistributionError(text, exc.pos, exc.message or (PLANE_MISSING if plane else "")) from None
