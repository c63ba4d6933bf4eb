"""Usage of a step as sacct and sstat show it.

sacct shows the usage of an ended step, and only ``energy=0`` for a step that ended before its first measurement. sstat
shows a running step, and prints disk numbers in bytes instead of MiB.
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
    """Cache of byte counts as text. One maximum appears in four columns and often in many rows."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self._scale = scale

    def __missing__(self, size: float) -> str:
        text = self[size] = amount(int(size), 0, self._scale)
        return text


class _Forms:
    """Texts of usage in one scale. Texts of TRES are sorted by the names of their parts."""

    def __init__(self, scale: Scale, sacct: bool) -> None:
        self._scale = scale
        self._sacct = sacct
        self.sizes = _Sizes(scale)

    def disk(self, count: float, tasks: int = 1) -> str:
        count = count / tasks
        count, unit = (count / (1 << 20), MEGA) if self._sacct else (count, 0)
        return amount(count, unit, self._scale) if count > 1 else "%.2fM" % count if count > 0 else "0"

    def pages(self, count: float) -> str:
        return amount(count, 0, self._scale)

    def incoming(self, cpu: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return "cpu=%s,energy=0,fs/disk=%s,mem=%s,pages=%s,vmem=%s" % (
            format_seconds(int(cpu)),
            self.sizes[int(read)],
            self.sizes[int(rss)],
            self.sizes[int(pages)],
            self.sizes[int(vmem)],
        )

    def outgoing(self, written: float, tasks: int = 1) -> str:
        return "energy=0,fs/disk=" + self.sizes[int(written / tasks)]

    def average(self, tasks: int, cpu: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return self.incoming(cpu, read / tasks, rss, pages, vmem)

    def total(self, tasks: int, user: float, system: float, read: float, rss: float, pages: float, vmem: float) -> str:
        return self.incoming(user + system, read, rss * tasks, pages * tasks, vmem * tasks)

    def tasks_of_max(self, cpu: int, read: int, rss: int, pages: int, vmem: int) -> str:
        shown = str(cpu) if self._sacct else format_seconds(cpu)
        return "cpu=%s,fs/disk=%d,mem=%d,pages=%d,vmem=%d" % (shown, read, rss, pages, vmem)


def _nodes_of_max(cpu: str, read: str, rss: str, pages: str, vmem: str) -> str:
    return f"cpu={cpu},energy={cpu},fs/disk={read},mem={rss},pages={pages},vmem={vmem}"


def _text(reads: str, form: Callable[..., str], unmeasured: Optional[str] = None, kind: str = TEXT) -> PrintField[Any]:
    """Field computed by ``form`` from attributes of ``usage``. ``reads`` names the attributes."""
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


def _number(reads: str) -> PrintField[Any]:
    return _text(reads, str, kind=NUMBER)


def _name(reads: str) -> PrintField[Any]:
    return _text(reads, str)


def _seconds(reads: str) -> PrintField[Any]:
    return _text(reads, lambda time: cpu_duration(int(time)))


def usage_fields(scale: Scale, sacct: bool) -> dict[str, PrintField[Any]]:
    """Usage fields by lower-case name, for rows with ``usage``."""
    forms = _Forms(scale, sacct)

    def size(reads: str) -> PrintField[Any]:
        return _text(reads, forms.sizes.__getitem__)

    nothing = _text("tasks", lambda tasks: "")
    maxima: dict[str, PrintField[Any]] = {}
    for name, value, form in (
        ("diskread", "max_disk_read", forms.disk),
        ("diskwrite", "max_disk_write", forms.disk),
        ("pages", "max_pages", forms.pages),
        ("rss", "max_rss", forms.sizes.__getitem__),
        ("vmsize", "max_vmsize", forms.sizes.__getitem__),
    ):
        maxima[f"max{name}"] = _text(value, form)
        maxima[f"max{name}node"] = _name(f"{value}_node")
        maxima[f"max{name}task"] = _number(f"{value}_task")
    return {
        **maxima,
        "avecpu": _seconds("ave_cpu_s"),
        # CPU frequency is not measured
        "avecpufreq": PrintField(TEXT, lambda row: "0" if row.step is not None else None, shared=True),
        "avediskread": _text("disk_read tasks", forms.disk),
        "avediskwrite": _text("disk_write tasks", forms.disk),
        "avepages": _text("ave_pages", forms.pages),
        "averss": size("ave_rss"),
        "avevmsize": size("ave_vmsize"),
        "mincpu": _seconds("min_cpu_s"),
        "mincpunode": _name("min_cpu_node"),
        "mincputask": _number("min_cpu_task"),
        "tresusageinave": _text("tasks ave_cpu_s disk_read ave_rss ave_pages ave_vmsize", forms.average, "energy=0"),
        "tresusageinmax": _text("ave_cpu_s max_disk_read max_rss max_pages max_vmsize", forms.incoming),
        "tresusageinmaxnode": _text(
            "min_cpu_node max_disk_read_node max_rss_node max_pages_node max_vmsize_node", _nodes_of_max
        ),
        "tresusageinmaxtask": _text(
            "min_cpu_task max_disk_read_task max_rss_task max_pages_task max_vmsize_task", forms.tasks_of_max
        ),
        # the record has a minimum for CPU time only
        "tresusageinmin": _text("min_cpu_s", lambda cpu: "cpu=" + format_seconds(int(cpu))),
        "tresusageinminnode": _text("min_cpu_node", lambda node: "cpu=" + node),
        "tresusageinmintask": _text("min_cpu_task", lambda task: "cpu=%d" % task),
        "tresusageintot": _text(
            "tasks user_s system_s disk_read ave_rss ave_pages ave_vmsize", forms.total, "energy=0"
        ),
        "tresusageoutave": _text("disk_write tasks", forms.outgoing, "energy=0"),
        "tresusageoutmax": _text("max_disk_write", forms.outgoing),
        "tresusageoutmaxnode": _text("max_disk_write_node", lambda node: f"energy={node},fs/disk={node}"),
        "tresusageoutmaxtask": _text("max_disk_write_task", lambda task: "fs/disk=%d" % task),
        "tresusageoutmin": nothing,
        "tresusageoutminnode": nothing,
        "tresusageoutmintask": nothing,
        "tresusageouttot": _text("disk_write", forms.outgoing, "energy=0"),
    }
