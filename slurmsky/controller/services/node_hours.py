"""Costs of warm nodes: hours up, shares of jobs, idle time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...model.allocation import NodeShare
from ...model.job import Job
from ...model.states import JobFlag
from ...report.text.spending import Charge
from ..jobs.job_table import JobTable

_NOTE = "node_hours"
#: spans that ended longer ago are removed
_KEPT_S = 400 * 86400.0


@dataclass
class Span:
    """Time during which a node was up. ``end`` 0.0: the node is still up."""

    partition: str
    node: str
    price: float  # dollars an hour
    start: float
    end: float = 0.0


class NodeHours:
    """Stores the spans, and charges jobs on warm nodes."""

    def __init__(self, job_table: JobTable, on_cost: Callable[[Job], None]) -> None:
        self._job_table = job_table
        self._on_cost = on_cost  # called with each job whose cost has changed
        self.spans = [Span(*row) for row in json.loads(job_table.store.read_note(_NOTE) or "[]")]

    def node_up(self, partition: str, node: str, price: float, since: float) -> None:
        """Begin a span of a node. ``since`` may be before the controller's start."""
        if not any(span.node == node and not span.end for span in self.spans):
            self.spans.append(Span(partition, node, price, since))
            self._save()

    def node_down(self, node: str) -> None:
        """End the span of a node."""
        now = self._job_table.clock()
        for span in self.spans:
            if span.node == node and not span.end:
                span.end = now
                self._save()

    def _save(self) -> None:
        oldest = self._job_table.clock() - _KEPT_S
        self.spans = [span for span in self.spans if not span.end or span.end > oldest]
        self._job_table.store.put_note(_NOTE, json.dumps([list(span.__dict__.values()) for span in self.spans]))

    def charge(self, job: Job) -> None:
        """Write a job's cost so far into its record. It is the job's share of its nodes' price since its start."""
        if not job.start_time or JobFlag.CONFIGURING in job.flags:
            return
        now = self._job_table.clock()
        hourly = self.hourly(job.shares, job.end_time if job.state.finished else now)
        hours = max(0.0, (job.end_time if job.state.finished and job.end_time else now) - job.start_time) / 3600
        cost = round(hourly * hours, 6)
        if cost != job.cost or hourly != job.hourly_cost:
            job.cost, job.hourly_cost = cost, round(hourly, 6)
            self._job_table.touch(job)
            self._on_cost(job)

    def last_price(self, partition: str) -> float:
        """Price of a partition's latest node in dollars an hour; 0.0: unknown."""
        return next((span.price for span in reversed(self.spans) if span.partition == partition and span.price), 0.0)

    def hourly(self, shares: Sequence[NodeShare], when: float, usual: float = 0.0) -> float:
        """Dollars an hour of these shares of nodes.

        A share is the larger fraction of CPUs and devices. ``usual``: the price of a node that has not been up.
        """
        total = 0.0
        for share in shares:
            node = self._job_table.nodes.get(share.name)
            price = self._price(share.name, when) or usual
            if node is not None and price:
                total += price * _part(share, node.config.cpus, sum(count for _, _, count in node.config.gres))
        return total

    def _price(self, node: str, when: float) -> float:
        spans = (span for span in reversed(self.spans) if span.node == node and span.start <= when + 1)
        return next((span.price for span in spans), 0.0)

    def idle(self, charges: Sequence[Charge], start: float, end: float, now: float) -> Iterator[Charge]:
        """Yield the cost of idle nodes by partition, between epoch seconds. ``charges``: the costs of jobs."""
        for partition in dict.fromkeys(span.partition for span in self.spans):
            hours = dollars = 0.0
            for span in self.spans:
                up = min(span.end or now, end) - max(span.start, start)
                if span.partition == partition and up > 0:
                    hours += up / 3600
                    dollars += up / 3600 * span.price
            used = [one for one in charges if one.partition.partition(",")[0] == partition]
            left = max(0.0, dollars - sum(one.dollars for one in used))
            if hours:
                yield Charge("", "", "", partition, 0, 0.0, left)


def _part(share: NodeShare, cpus: int, devices: int) -> float:
    """Fraction of a node that a share has."""
    gres = sum(len(ids) for ids in share.gres.values()) / devices if devices else 0.0
    return min(1.0, max(share.cpus / max(1, cpus), gres))
