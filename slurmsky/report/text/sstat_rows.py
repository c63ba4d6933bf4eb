"""sstat: usage of running steps so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Optional

from slurmsky.model.job import Job, Step

from ..fields import derived, tres_texts
from ..fields.step_usage import shown_usage, usage_fields
from ..report_context import ReportContext
from .print_fields import NUMBER, TEXT, Column, PrintField, TableStyle, columns_of, default_format, table_text

DEFAULT = default_format("sstat_fields", "default")
PIDS = default_format("sstat_fields", "pid")


class RunningStep(NamedTuple):
    """Row of sstat. ``pids`` are processes of one node, because --pidformat prints a row per node."""

    job: Job
    step: Step
    pids: tuple[int, ...] = ()
    nodes: Optional[tuple[str, ...]] = None

    @property
    def usage(self) -> Any:
        """The usage that the row shows."""
        return shown_usage(self.step)


def sstat_columns(text: str, context: ReportContext) -> list[Column[RunningStep]]:
    """Columns of a --format text. DEFAULT and PIDS are the formats of no option and of -i. Raises InvalidField."""
    return columns_of(text, "sstat_fields", sstat_fields(context))


def sstat_text(steps: Iterable[RunningStep], columns: Sequence[Column[RunningStep]], style: TableStyle) -> str:
    """Text that sstat prints for these steps."""
    return table_text(columns, steps, style)


def sstat_fields(context: ReportContext) -> dict[str, PrintField[RunningStep]]:
    """Fields of sstat by name in lower case."""

    def frequency(row: RunningStep) -> str:
        return "0" if row.step.step_id in ("batch", "extern", "interactive") else "Unknown"

    fields: dict[str, PrintField[RunningStep]] = usage_fields(context.scale, sacct=False)
    fields.update(
        {
            "alloctres": PrintField(
                TEXT, lambda row: tres_texts.tres(sorted(tres_texts.step_tres(row.step, context))) or None
            ),
            "consumedenergy": PrintField(TEXT, lambda row: "0"),
            "consumedenergyraw": PrintField(NUMBER, lambda row: "0"),
            "jobid": PrintField(TEXT, lambda row: "%d.%s" % (row.step.job_id, row.step.step_id)),
            "nodelist": PrintField(
                TEXT, lambda row: derived.node_list(row.step.nodes if row.nodes is None else row.nodes)
            ),
            "ntasks": PrintField(NUMBER, lambda row: str(row.step.ntasks)),
            "pids": PrintField(TEXT, lambda row: ",".join(map(str, row.pids)) or None),
            **{
                name: PrintField(TEXT, frequency)
                for name in ("reqcpufreq", "reqcpufreqmin", "reqcpufreqmax", "reqcpufreqgov")
            },
        }
    )
    return fields
