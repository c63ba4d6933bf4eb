"""What a step used, as sacct and sstat show it.

sacct shows what a finished step used, and nothing but ``energy=0`` of one that ended before it was measured;
sstat shows a running one, and its disk numbers in bytes where sacct shows MiB.
"""
from __future__ import annotations

from typing import Any, Callable, Optional

from slurmsky.model.job import Usage

from .print_fields import NUMBER, TEXT, Field
from .text import MEGA, Scale, amount, cpu_duration, format_seconds


class _Sizes(dict[float, str]):
    """Byte counts as texts, each made once: a step's largest use stands in four columns, and often in many rows."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self._scale = scale

    def __missing__(self, size: float) -> str:
        text = self[size] = amount(int(size), 0, self._scale)
        return text


def usage_fields(scale: Scale, sacct: bool) -> dict[str, Field[Any]]:
    """Fields of what a step used, by name in lower case, for rows that have it as ``step`` (None: of a job)."""
    sizes = _Sizes(scale)

    def text(value: Callable[[Usage], str], unmeasured: Optional[str] = None, kind: str = TEXT) -> Field[Any]:
        def shown(row: Any) -> Optional[str]:
            step = row.step
            if step is None:
                return None
            if sacct and not step.state.finished:
                return None
            return value(step.usage) or None if step.usage.tasks else unmeasured

        return Field(kind, shown)

    def number(value: Callable[[Usage], int]) -> Field[Any]:
        return text(lambda usage: str(value(usage)), kind=NUMBER)

    def size(value: Callable[[Usage], float]) -> Field[Any]:
        return text(lambda usage: sizes[value(usage)])

    def disk(value: Callable[[Usage], float]) -> Field[Any]:
        def form(usage: Usage) -> str:
            count = value(usage)
            count, unit = (count / (1 << 20), MEGA) if sacct else (count, 0)
            return amount(count, unit, scale) if count > 1 else "%.2fM" % count if count > 0 else "0"
        return text(form)

    # The parts of a TRES text stand in the order of their names.

    def incoming(cpu: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return "cpu=%s,energy=0,fs/disk=%s,mem=%s,pages=%s,vmem=%s" % (
            format_seconds(int(cpu)), sizes[int(read)], sizes[int(rss)], sizes[int(pages)], sizes[int(vmem)])

    def outgoing(written: float) -> str:
        return "energy=0,fs/disk=" + sizes[int(written)]

    def total_cpu(usage: Usage) -> float:
        return usage.user_s + usage.system_s

    def nodes_of_max(usage: Usage) -> str:
        return "cpu=%s,energy=%s,fs/disk=%s,mem=%s,pages=%s,vmem=%s" % (
            usage.min_cpu_node, usage.min_cpu_node, usage.max_disk_read_node, usage.max_rss_node,
            usage.max_pages_node, usage.max_vmsize_node)

    def tasks_of_max(usage: Usage) -> str:
        cpu = str(usage.min_cpu_task) if sacct else format_seconds(usage.min_cpu_task)
        return "cpu=%s,fs/disk=%d,mem=%d,pages=%d,vmem=%d" % (
            cpu, usage.max_disk_read_task, usage.max_rss_task, usage.max_pages_task, usage.max_vmsize_task)

    def written_by(usage: Usage) -> str:
        return "energy=%s,fs/disk=%s" % (usage.max_disk_write_node, usage.max_disk_write_node)

    def written_by_task(usage: Usage) -> str:
        return "fs/disk=%d" % usage.max_disk_write_task

    average_in = text(
        lambda u: incoming(u.ave_cpu_s, u.disk_read / u.tasks, u.ave_rss, u.ave_pages, u.ave_vmsize),
        "energy=0",
    )
    average_out = text(lambda u: outgoing(u.disk_write / u.tasks), "energy=0")
    return {
        "avecpu": text(lambda u: cpu_duration(int(u.ave_cpu_s))),
        # No frequency is measured.
        "avecpufreq": Field(TEXT, lambda row: "0" if row.step is not None else None),
        "avediskread": disk(lambda u: u.disk_read / u.tasks),
        "avediskwrite": disk(lambda u: u.disk_write / u.tasks),
        "avepages": text(lambda u: amount(u.ave_pages, 0, scale)),
        "averss": size(lambda u: u.ave_rss),
        "avevmsize": size(lambda u: u.ave_vmsize),
        "maxdiskread": disk(lambda u: u.max_disk_read),
        "maxdiskreadnode": text(lambda u: u.max_disk_read_node),
        "maxdiskreadtask": number(lambda u: u.max_disk_read_task),
        "maxdiskwrite": disk(lambda u: u.max_disk_write),
        "maxdiskwritenode": text(lambda u: u.max_disk_write_node),
        "maxdiskwritetask": number(lambda u: u.max_disk_write_task),
        "maxpages": text(lambda u: amount(u.max_pages, 0, scale)),
        "maxpagesnode": text(lambda u: u.max_pages_node),
        "maxpagestask": number(lambda u: u.max_pages_task),
        "maxrss": size(lambda u: u.max_rss),
        "maxrssnode": text(lambda u: u.max_rss_node),
        "maxrsstask": number(lambda u: u.max_rss_task),
        "maxvmsize": size(lambda u: u.max_vmsize),
        "maxvmsizenode": text(lambda u: u.max_vmsize_node),
        "maxvmsizetask": number(lambda u: u.max_vmsize_task),
        "mincpu": text(lambda u: cpu_duration(int(u.min_cpu_s))),
        "mincpunode": text(lambda u: u.min_cpu_node),
        "mincputask": number(lambda u: u.min_cpu_task),
        "tresusageinave": average_in,
        "tresusageinmax": text(
            lambda u: incoming(u.ave_cpu_s, u.max_disk_read, u.max_rss, u.max_pages, u.max_vmsize)
        ),
        "tresusageinmaxnode": text(nodes_of_max),
        "tresusageinmaxtask": text(tasks_of_max),
        # The record keeps the least of CPU time alone.
        "tresusageinmin": text(lambda u: "cpu=" + format_seconds(int(u.min_cpu_s))),
        "tresusageinminnode": text(lambda u: "cpu=" + u.min_cpu_node),
        "tresusageinmintask": text(lambda u: "cpu=%d" % u.min_cpu_task),
        "tresusageintot": text(
            lambda u: incoming(
                total_cpu(u), u.disk_read, u.ave_rss * u.tasks, u.ave_pages * u.tasks, u.ave_vmsize * u.tasks
            ),
            "energy=0",
        ),
        "tresusageoutave": average_out,
        "tresusageoutmax": text(lambda u: outgoing(u.max_disk_write)),
        "tresusageoutmaxnode": text(written_by),
        "tresusageoutmaxtask": text(written_by_task),
        "tresusageoutmin": text(lambda u: ""),
        "tresusageoutminnode": text(lambda u: ""),
        "tresusageoutmintask": text(lambda u: ""),
        "tresusageouttot": text(lambda u: outgoing(u.disk_write), "energy=0"),
    }
