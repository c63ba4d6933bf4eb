"""--cpu-bind: `verbose,map_cpu:0,2` <-> CPUs of each task.

Source: slurm src/common/slurm_resource_info.c slurm_verify_cpu_bind, slurm_sprint_cpu_bind_type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slurmsky.language._bind import Bind, read
from slurmsky.language.syntax_errors import BindError as BindError

# Spelling -> the name that SLURM_CPU_BIND_TYPE prints.
_TO = {"socket": "sockets", "core": "cores", "thread": "threads", "ldom": "ldoms"}
_LISTS = ("map_cpu", "mask_cpu", "map_ldom", "mask_ldom")
_WORDS: dict[str, dict[str, Any]] = {
    "one_thread": {"one_thread": True},
    "rank": {"values": ()},  # obsolete and ignored
    "rank_ldom": {"how": "rank_ldom", "values": ()},
    **{word: {"to": name} for word, name in _TO.items()},
    **{name: {"to": name} for name in _TO.values()},
}


@dataclass(frozen=True)
class CpuBind(Bind):
    """Binding to ``to`` (cores, threads, sockets, ldoms), or by ``how``.

    ``how`` names a CPU for each task: none, rank_ldom, or one of the lists with its `values`.
    """

    to: str = ""
    one_thread: bool = False

    def __str__(self) -> str:
        return self.text_with_flags(self.to, "one_thread" if self.one_thread else "")


def parse(text: str) -> CpuBind:
    """Parse --cpu-bind; later words override earlier ones.

    Raises BindError with the line that Slurm prints.

    >>> str(parse("v,cores")), str(parse("map_cpu:0,2*2")), parse("help").help
    ('verbose,cores', 'map_cpu:0,2,2', True)
    """
    return read(text, "cpu-bind", CpuBind(), _LISTS, _WORDS)
