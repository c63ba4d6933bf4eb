"""Usage of a step as sacct and sstat show it.

sacct shows the usage of an ended step, and only ``energy=0`` for a step that ended before its first measurement. sstat
shows a running step, and prints disk numbers in bytes where sacct prints MiB.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any, Callable, Optional

from slurmsky.model.job import Step, Usage

from ..text.print_fields import NUMBER, TEXT, PrintField
from ..text.units import MEGA, Scale, amount, cpu_duration, format_seconds

_NAMES = [field.name for field in fields(Usage)]
_UNKNOWN = object()
#: the usage of rows that show none, and of steps without measurements
NO_USAGE: Any = type("NoUsage", (), dict.fromkeys(_NAMES))()
UNMEASURED: Any = type("Unmeasured", (), dict.fromkeys(_NAMES, _UNKNOWN))()


def shown_usage(step: Step) -> Any:
    """The usage that a row shows for a step."""
    return step.usage if step.usage.tasks else UNMEASURED


class _Sizes(dict[float, str]):
    """Cache of byte counts as text, since one maximum appears in four columns and often in many rows."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self._scale = scale

    def __missing__(self, size: float) -> str:
        text = self[size] = amount(int(size), 0, self._scale)
        return text


def usage_fields(scale: Scale, sacct: bool) -> dict[str, PrintField[Any]]:  # noqa: C901
    """Usage fields by name in lower case, for rows with an attribute ``usage``."""
    sizes = _Sizes(scale)

    def text(
        reads: str, form: Callable[..., str], unmeasured: Optional[str] = None, kind: str = TEXT
    ) -> PrintField[Any]:
        names = tuple(reads.split())
        read, several = attrgetter(*names), len(names) > 1

        def made(values: Any) -> Optional[str]:
            first = values[0] if several else values
            if first is None:
                return None
            if first is _UNKNOWN:
                return unmeasured
            return (form(*values) if several else form(values)) or None

        return PrintField(kind, lambda row: made(read(row.usage)), reads=names, form=made)

    def number(reads: str) -> PrintField[Any]:
        return text(reads, str, kind=NUMBER)

    def name(reads: str) -> PrintField[Any]:
        return text(reads, str)

    def size(reads: str) -> PrintField[Any]:
        return text(reads, sizes.__getitem__)

    def pages(reads: str) -> PrintField[Any]:
        return text(reads, lambda count: amount(count, 0, scale))

    def seconds(reads: str) -> PrintField[Any]:
        return text(reads, lambda time: cpu_duration(int(time)))

    def disk(reads: str) -> PrintField[Any]:
        def form(count: float, tasks: int = 1) -> str:
            count = count / tasks
            count, unit = (count / (1 << 20), MEGA) if sacct else (count, 0)
            return amount(count, unit, scale) if count > 1 else "%.2fM" % count if count > 0 else "0"

        return text(reads, form)

    # parts of a TRES text are sorted by name

    def incoming(cpu: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return "cpu=%s,energy=0,fs/disk=%s,mem=%s,pages=%s,vmem=%s" % (
            format_seconds(int(cpu)),
            sizes[int(read)],
            sizes[int(rss)],
            sizes[int(pages)],
            sizes[int(vmem)],
        )

    def outgoing(written: float, tasks: int = 1) -> str:
        return "energy=0,fs/disk=" + sizes[int(written / tasks)]

    def average(tasks: int, cpu: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return incoming(cpu, read / tasks, rss, pages, vmem)

    def total(tasks: int, user: float, system: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return incoming(user + system, read, rss * tasks, pages * tasks, vmem * tasks)

    def nodes_of_max(cpu: str, read: str, rss: str, pages: str, vmem: str) -> str:
        return f"cpu={cpu},energy={cpu},fs/disk={read},mem={rss},pages={pages},vmem={vmem}"

    def tasks_of_max(cpu: int, read: int, rss: int, pages: int, vmem: int) -> str:
        shown = str(cpu) if sacct else format_seconds(cpu)
        return "cpu=%s,fs/disk=%d,mem=%d,pages=%d,vmem=%d" % (shown, read, rss, pages, vmem)

    nothing = text("tasks", lambda tasks: "")
    return {
        "avecpu": seconds("ave_cpu_s"),
        # CPU frequency is not measured
        "avecpufreq": PrintField(TEXT, lambda row: "0" if row.step is not None else None, shared=True),
        "avediskread": disk("disk_read tasks"),
        "avediskwrite": disk("disk_write tasks"),
        "avepages": pages("ave_pages"),
        "averss": size("ave_rss"),
        "avevmsize": size("ave_vmsize"),
        "maxdiskread": disk("max_disk_read"),
        "maxdiskreadnode": name("max_disk_read_node"),
        "maxdiskreadtask": number("max_disk_read_task"),
        "maxdiskwrite": disk("max_disk_write"),
        "maxdiskwritenode": name("max_disk_write_node"),
        "maxdiskwritetask": number("max_disk_write_task"),
        "maxpages": pages("max_pages"),
        "maxpagesnode": name("max_pages_node"),
        "maxpagestask": number("max_pages_task"),
        "maxrss": size("max_rss"),
        "maxrssnode": name("max_rss_node"),
        "maxrsstask": number("max_rss_task"),
        "maxvmsize": size("max_vmsize"),
        "maxvmsizenode": name("max_vmsize_node"),
        "maxvmsizetask": number("max_vmsize_task"),
        "mincpu": seconds("min_cpu_s"),
        "mincpunode": name("min_cpu_node"),
        "mincputask": number("min_cpu_task"),
        "tresusageinave": text("tasks ave_cpu_s disk_read ave_rss ave_pages ave_vmsize", average, "energy=0"),
        "tresusageinmax": text("ave_cpu_s max_disk_read max_rss max_pages max_vmsize", incoming),
        "tresusageinmaxnode": text(
            "min_cpu_node max_disk_read_node max_rss_node max_pages_node max_vmsize_node", nodes_of_max
        ),
        "tresusageinmaxtask": text(
            "min_cpu_task max_disk_read_task max_rss_task max_pages_task max_vmsize_task", tasks_of_max
        ),
        # the record has a minimum for CPU time only
        "tresusageinmin": text("min_cpu_s", lambda cpu: "cpu=" + format_seconds(int(cpu))),
        "tresusageinminnode": text("min_cpu_node", lambda node: "cpu=" + node),
        "tresusageinmintask": text("min_cpu_task", lambda task: "cpu=%d" % task),
        "tresusageintot": text("tasks user_s system_s disk_read ave_rss ave_pages ave_vmsize", total, "energy=0"),
        "tresusageoutave": text("disk_write tasks", outgoing, "energy=0"),
        "tresusageoutmax": text("max_disk_write", outgoing),
        "tresusageoutmaxnode": text("max_disk_write_node", lambda node: f"energy={node},fs/disk={node}"),
        "tresusageoutmaxtask": text("max_disk_write_task", lambda task: "fs/disk=%d" % task),
        "tresusageoutmin": nothing,
        "tresusageoutminnode": nothing,
        "tresusageoutmintask": nothing,
        "tresusageouttot": text("disk_write", outgoing, "energy=0"),
    }
