"""What a step used, as sacct and sstat show it.

sacct shows what a finished step used, and nothing but ``energy=0`` of one that ended before it was measured;
sstat shows a running one, and its disk numbers in bytes where sacct shows MiB.
"""
from __future__ import annotations

from typing import Callable, Optional

from slurmsky.model.job import Step, Usage

from .facts import tres
from .print_fields import NUMBER, TEXT, Field
from .text import MEGA, Scale, amount, cpu_duration, format_seconds

StepField = Field[Step]


def _shown(step: Step, sacct: bool) -> Optional[Usage]:
    usage = step.usage
    return usage if usage.tasks and (step.state.finished or not sacct) else None


def usage_fields(scale: Scale, sacct: bool) -> dict[str, StepField]:
    """Fields of what a step used, by name in lower case."""

    def text(value: Callable[[Usage], str]) -> StepField:
        def shown(step: Step) -> Optional[str]:
            usage = _shown(step, sacct)
            return None if usage is None else value(usage)
        return Field(TEXT, shown)

    def number(value: Callable[[Usage], int]) -> StepField:
        return Field(NUMBER, text(lambda usage: str(value(usage))).value)

    def size(value: Callable[[Usage], float]) -> StepField:
        return text(lambda usage: _bytes(value(usage), scale))

    def disk(value: Callable[[Usage], float]) -> StepField:
        def form(usage: Usage) -> str:
            count = value(usage)
            count, unit = (count / (1 << 20), MEGA) if sacct else (count, 0)
            return amount(count, unit, scale) if count > 1 else "%.2fM" % count if count > 0 else "0"
        return text(form)

    def summary(
        value: Callable[[Usage], list[tuple[str, str]]], unmeasured: Optional[str] = None
    ) -> StepField:
        def shown(step: Step) -> Optional[str]:
            usage = _shown(step, sacct)
            if usage is not None:
                return tres(sorted(value(usage))) or None
            return unmeasured if step.state.finished or not sacct else None
        return Field(TEXT, shown)

    def incoming(cpu: float, read: float, rss: float, pages: float, vmem: float) -> list[tuple[str, str]]:
        return [
            ("cpu", format_seconds(int(cpu))),
            ("energy", "0"),
            ("fs/disk", amount(int(read), 0, scale)),
            ("mem", _bytes(rss, scale)),
            ("pages", amount(int(pages), 0, scale)),
            ("vmem", _bytes(vmem, scale)),
        ]

    def outgoing(written: float) -> list[tuple[str, str]]:
        return [("energy", "0"), ("fs/disk", amount(int(written), 0, scale))]

    def total_cpu(usage: Usage) -> float:
        return usage.user_s + usage.system_s

    def nodes_of_max(usage: Usage) -> list[tuple[str, str]]:
        return [
            ("cpu", usage.min_cpu_node),
            ("energy", usage.min_cpu_node),
            ("fs/disk", usage.max_disk_read_node),
            ("mem", usage.max_rss_node),
            ("pages", usage.max_pages_node),
            ("vmem", usage.max_vmsize_node),
        ]

    def tasks_of_max(usage: Usage) -> list[tuple[str, str]]:
        cpu = str(usage.min_cpu_task) if sacct else format_seconds(usage.min_cpu_task)
        return [("cpu", cpu), ("fs/disk", str(usage.max_disk_read_task)), ("mem", str(usage.max_rss_task)),
                ("pages", str(usage.max_pages_task)), ("vmem", str(usage.max_vmsize_task))]

    def written_by(usage: Usage) -> list[tuple[str, str]]:
        return [("energy", usage.max_disk_write_node), ("fs/disk", usage.max_disk_write_node)]

    def written_by_task(usage: Usage) -> list[tuple[str, str]]:
        return [("fs/disk", str(usage.max_disk_write_task))]

    average_in = summary(
        lambda u: incoming(u.ave_cpu_s, u.disk_read / u.tasks, u.ave_rss, u.ave_pages, u.ave_vmsize),
        "energy=0",
    )
    average_out = summary(lambda u: outgoing(u.disk_write / u.tasks), "energy=0")
    return {
        "avecpu": text(lambda u: cpu_duration(int(u.ave_cpu_s))),
        # No frequency is measured.
        "avecpufreq": Field(TEXT, lambda step: "0"),
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
        "tresusageinmax": summary(
            lambda u: incoming(u.ave_cpu_s, u.max_disk_read, u.max_rss, u.max_pages, u.max_vmsize)
        ),
        "tresusageinmaxnode": summary(nodes_of_max),
        "tresusageinmaxtask": summary(tasks_of_max),
        # The record keeps the least of CPU time alone.
        "tresusageinmin": summary(lambda u: [("cpu", format_seconds(int(u.min_cpu_s)))]),
        "tresusageinminnode": summary(lambda u: [("cpu", u.min_cpu_node)]),
        "tresusageinmintask": summary(lambda u: [("cpu", str(u.min_cpu_task))]),
        "tresusageintot": summary(
            lambda u: incoming(
                total_cpu(u), u.disk_read, u.ave_rss * u.tasks, u.ave_pages * u.tasks, u.ave_vmsize * u.tasks
            ),
            "energy=0",
        ),
        "tresusageoutave": average_out,
        "tresusageoutmax": summary(lambda u: outgoing(u.max_disk_write)),
        "tresusageoutmaxnode": summary(written_by),
        "tresusageoutmaxtask": summary(written_by_task),
        "tresusageoutmin": summary(lambda u: []),
        "tresusageoutminnode": summary(lambda u: []),
        "tresusageoutmintask": summary(lambda u: []),
        "tresusageouttot": summary(lambda u: outgoing(u.disk_write), "energy=0"),
    }


def _bytes(size: float, scale: Scale) -> str:
    return amount(int(size), 0, scale)
