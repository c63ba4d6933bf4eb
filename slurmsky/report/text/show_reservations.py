"""Text of scontrol show reservation and sinfo --reservation."""

from __future__ import annotations

from collections.abc import Iterable

from slurmsky.language.hostlist import compress_sorted
from slurmsky.model.reservation import Reservation

from ..fields.tres_texts import index_list
from ..report_context import ReportContext
from .show_job import record_text
from .units import format_seconds, null_if_empty


def _state(one: Reservation, context: ReportContext) -> str:
    return "ACTIVE" if one.active(context.now) else "INACTIVE"


def _listed(names: tuple[str, ...]) -> str:
    return null_if_empty(",".join(names))


def _flag(name: str, one: Reservation) -> str:
    return f"{name}={format_seconds(one.purge_comp_s)}" if name == "PURGE_COMP" and one.purge_comp_s else name


def show_reservation(one: Reservation, context: ReportContext, oneliner: bool = False) -> str:
    """Text of one reservation.

    Source: api/reservation_info.c slurm_sprint_reservation_info.
    """
    text = context.clock.text
    delay = "(null)" if one.max_start_delay_s is None else format_seconds(one.max_start_delay_s)
    lines = [
        "ReservationName=%s StartTime=%s EndTime=%s Duration=%s"
        % (one.name, text(one.start), text(one.end), format_seconds(one.end - one.start)),
        "Nodes=%s NodeCnt=%d CoreCnt=%d Features=%s PartitionName=%s Flags=%s"
        % (
            compress_sorted(one.nodes),
            len(one.nodes),
            one.cores,
            null_if_empty(one.features),
            null_if_empty(one.partition),
            ",".join(_flag(name, one) for name in one.flags),
        ),
        *["  NodeName=%s CoreIDs=%s" % pair for pair in core_ids(one, context)],
        "TRES=cpu=%d" % one.cores,
        "AllowedPartitions=%s QOS=%s" % (_listed(one.allowed_partitions), _listed(one.qos)),
        "Users=%s Groups=%s Accounts=%s Licenses=(null) State=%s BurstBuffer=(null)"
        % (_listed(one.users), _listed(one.groups), _listed(one.accounts), _state(one, context)),
        "MaxStartDelay=" + delay,
    ]
    if one.comment:
        lines.append("Comment=" + one.comment)
    return record_text(lines, oneliner)


def core_ids(one: Reservation, context: ReportContext) -> list[tuple[str, str]]:
    """Node and core ids of an active reservation of cores. slurmctld reports no cores before the reservation starts."""
    threads = {node.name: node.threads for node in context.cluster.nodes}
    return [(name, index_list(sorted({cpu // threads.get(name, 1) for cpu in cpus})))
            for name, cpus in one.parts if one.active(context.now)]  # fmt: skip


def reservations_text(every: Iterable[Reservation], context: ReportContext, header: bool = True) -> str:
    """Text of sinfo --reservation.

    Source: sinfo/print.c print_sinfo_reservation.
    """
    form = "%-*s  %8s  %19s  %19s  %11s  %s"
    known = list(every)
    width = max((len(one.name) for one in known), default=0)
    width = max(width, len("RESV_NAME"))
    rows = [form % (width, "RESV_NAME", "STATE", "START_TIME", "END_TIME", "DURATION", "NODELIST")] if header else []
    for one in known:
        rows.append(
            form
            % (
                width,
                one.name,
                _state(one, context),
                context.clock.text(one.start),
                context.clock.text(one.end),
                format_seconds(one.end - one.start),
                compress_sorted(one.nodes),
            )
        )
    return "".join(row + "\n" for row in rows)
