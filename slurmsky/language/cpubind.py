"""--cpu-bind: `verbose,map_cpu:0,2` <-> which CPUs each task may use.

Source: slurm src/common/slurm_resource_info.c slurm_verify_cpu_bind, slurm_sprint_cpu_bind_type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from slurmsky.language._bind import ITEMS, repeated
from slurmsky.language.errors import BindError as BindError

# Spelling -> the name that SLURM_CPU_BIND_TYPE prints.
_TO = {"socket": "sockets", "core": "cores", "thread": "threads", "ldom": "ldoms"}
_LISTS = ("map_cpu", "mask_cpu", "map_ldom", "mask_ldom")


@dataclass(frozen=True)
class CpuBind:
    """`to` says what a task is bound to (cores, threads, sockets, ldoms), `how` names a CPU for each
    task instead (none, rank_ldom, or one of the lists with its `values`)."""

    to: str = ""
    how: str = ""
    values: tuple[str, ...] = ()
    verbose: bool = False
    one_thread: bool = False
    help: bool = False

    def __str__(self) -> str:
        if self.help:
            return "help"
        how = f"{self.how}:{','.join(self.values)}" if self.values else self.how
        return (
            ",".join(
                filter(
                    None,
                    (
                        "verbose" if self.verbose else "",
                        self.to,
                        "one_thread" if self.one_thread else "",
                        how,
                    ),
                )
            )
            or "quiet"
        )


def parse(text: str) -> CpuBind:
    """What --cpu-bind asks for; later words override earlier ones.  `rank` is obsolete and ignored.

    Raises BindError with the line that Slurm prints.

    >>> str(parse("v,cores")), str(parse("map_cpu:0,2*2")), parse("help").help
    ('verbose,cores', 'map_cpu:0,2,2', True)
    """
    try:
        items = ITEMS.parse(text)
    except BindError as exc:
        raise BindError(text, exc.pos, f'unrecognized --cpu-bind argument "{text}"') from None
    bind = CpuBind()
    for item in items:
        word = item.word.lower()
        kind = word if "_" in word else word.replace("map", "map_", 1).replace("mask", "mask_", 1)
        if word == "help":
            return CpuBind(help=True)
        if kind in _LISTS:
            if not item.values:
                raise BindError(text, 0, f'missing list for "--cpu-bind={kind}:<list>"')
            bind = replace(bind, how=kind, values=repeated(text, item.values))
        elif item.values is not None:
            raise BindError(text, 0, f'unrecognized --cpu-bind argument "{item.word}"')
        elif word in ("q", "quiet", "v", "verbose"):
            bind = replace(bind, verbose=word[0] == "v")
        elif word == "one_thread":
            bind = replace(bind, one_thread=True)
        elif word in ("no", "none"):
            bind = replace(bind, how="none", values=())
        elif word == "rank":
            bind = replace(bind, values=())
        elif word == "rank_ldom":
            bind = replace(bind, how=word, values=())
        elif word in _TO or word in _TO.values():
            bind = replace(bind, to=_TO.get(word, word))
        else:
            raise BindError(text, 0, f'unrecognized --cpu-bind argument "{item.word}"')
    return bind
