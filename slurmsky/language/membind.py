"""--mem-bind: `verbose,map_mem:0,1` <-> memory nodes of each task.

Source: slurm src/common/slurm_resource_info.c slurm_verify_mem_bind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slurmsky.language._bind import Bind, read
from slurmsky.language.syntax_errors import BindError as BindError

_LISTS = ("map_mem", "mask_mem")
_WORDS: dict[str, dict[str, Any]] = {
    **{word: {"prefer": True} for word in ("p", "prefer")},
    "sort": {"sort": True},
    **{word: {"how": word, "values": ()} for word in ("rank", "local")},
}


@dataclass(frozen=True)
class MemBind(Bind):
    """Binding of tasks to memory nodes.

    `how`: none, rank, local, or a list with its `values`; prefer and sort are flags.
    """

    prefer: bool = False
    sort: bool = False

    def __str__(self) -> str:
        return self.text_with_flags("prefer" if self.prefer else "", "sort" if self.sort else "")


def parse(text: str) -> MemBind:
    """Parse --mem-bind; later words override earlier ones.

    Raises BindError with the line that Slurm prints.

    >>> str(parse("v,local")), str(parse("mask_mem=0x3"))
    ('verbose,local', 'mask_mem:0x3')
    """
    return read(text, "mem-bind", MemBind(), _LISTS, _WORDS)
