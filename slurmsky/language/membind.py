"""--mem-bind: `verbose,map_mem:0,1` <-> which memory nodes each task may use.

Source: slurm src/common/slurm_resource_info.c slurm_verify_mem_bind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from slurmsky.language._bind import ITEMS, repeated
from slurmsky.language.errors import BindError as BindError

_LISTS = ("map_mem", "mask_mem")


@dataclass(frozen=True)
class MemBind:
    """`how`: none, rank, local, or a list with its `values`; prefer and sort as flags."""

    how: str = ""
    values: tuple[str, ...] = ()
    verbose: bool = False
    prefer: bool = False
    sort: bool = False
    help: bool = False

    def __str__(self) -> str:
        if self.help:
            return "help"
        how = f"{self.how}:{','.join(self.values)}" if self.values else self.how
        flags = (
            "verbose" if self.verbose else "",
            "prefer" if self.prefer else "",
            "sort" if self.sort else "",
        )
        return ",".join(filter(None, (*flags, how))) or "quiet"


def parse(text: str) -> MemBind:
    """What --mem-bind asks for; later words override.  Raises BindError with the line that Slurm prints.

    >>> str(parse("v,local")), str(parse("mask_mem=0x3"))
    ('verbose,local', 'mask_mem:0x3')
    """
    try:
        items = ITEMS.parse(text)
    except BindError as exc:
        raise BindError(text, exc.pos, f'unrecognized --mem-bind argument "{text}"') from None
    bind = MemBind()
    for item in items:
        word = item.word.lower()
        kind = word if "_" in word else word.replace("map", "map_", 1).replace("mask", "mask_", 1)
        if word == "help":
            return MemBind(help=True)
        if kind in _LISTS:
            if not item.values:
                raise BindError(text, 0, f'missing list for "--mem-bind={kind}:<list>"')
            bind = replace(bind, how=kind, values=repeated(text, item.values))
        elif item.values is not None:
            raise BindError(text, 0, f'unrecognized --mem-bind argument "{item.word}"')
        elif word in ("q", "quiet", "v", "verbose"):
            bind = replace(bind, verbose=word[0] == "v")
        elif word in ("p", "prefer"):
            bind = replace(bind, prefer=True)
        elif word == "sort":
            bind = replace(bind, sort=True)
        elif word in ("no", "none", "rank", "local"):
            bind = replace(bind, how="none" if word == "no" else word, values=())
        else:
            raise BindError(text, 0, f'unrecognized --mem-bind argument "{item.word}"')
    return bind
