"""Actual costs of SkyPilot's clusters, and hourly prices of tasks.

A managed job's record has no price. Its actual cost is in the cost report of its clusters, which are named after its
tasks; its hourly price is in the optimizer's table. Sources: sky/core.py cost_report, sky/jobs/utils.py
generate_managed_job_cluster_name, sky/utils/common_utils.py make_cluster_name_on_cloud (0.14.1).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ....translate.sky_task.price_table import read_prices
from ...cloud import Bill
from ..api.api_client import Client
from ..api.api_errors import Rejected

CLUSTERS_AT_ONCE = 100
_LENGTH, _HASH = 25, 2  # length of a cluster's name before its job's id; length of the hash that ends a shortened name
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def cluster_name(task: str, managed_job_id: int) -> str:
    """Return SkyPilot's name of a managed job's cluster."""
    plain = re.sub(r"[._]", "-", task).lower()
    if len(plain) > _LENGTH:
        digest = int(hashlib.md5(task.encode(), usedforsecurity=False).hexdigest(), 16)
        plain = plain[: _LENGTH - _HASH - 1].rstrip("-") + "-" + _base36(digest)[:_HASH]
    return f"{plain}-{managed_job_id}"


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


def bills(report: Iterable[Mapping[str, Any]]) -> dict[str, Bill]:
    """Return bills by cluster name.

    A reused name, as after a preemption, has one bill for all clusters of that name.
    """
    found: dict[str, Bill] = {}
    for row in report:
        name, dollars = str(row.get("name") or ""), float(row.get("total_cost") or 0.0)
        seconds = float(row.get("duration") or 0.0)
        intervals = row.get("usage_intervals") or []
        alive = bool(row.get("status")) or any(not span[1] for span in intervals if len(span) > 1)
        before = found.get(name, Bill())
        hourly = dollars / seconds * 3600 if seconds > 0 else 0.0
        found[name] = Bill(
            before.dollars + dollars,
            # The price of the running cluster, else of the last one with a price.
            hourly if alive or not before.hourly else before.hourly,
            before.open or alive,
        )
    return found


async def read_bills(client: Client, clusters: Sequence[str]) -> dict[str, Bill]:
    """Read the bills of these clusters. Raises SkyError. A cluster that did not start has none."""
    found: dict[str, Bill] = {}
    for start in range(0, len(clusters), CLUSTERS_AT_ONCE):
        names = list(clusters[start : start + CLUSTERS_AT_ONCE])
        report = await client.call("/cost_report", {"cluster_names": names, "days": None})
        found.update(bills(row for row in report or () if isinstance(row, Mapping)))
    return found


def price_task(fields: Mapping[str, Any]) -> str:
    """Return the optimizer's task: the fields on which a price depends.

    Without the ceiling by slurmsky, which would hide prices above it.
    """
    resources = {
        key: value for key, value in fields.get("resources", {}).items() if key not in ("labels", "max_hourly_cost")
    }
    size = {"num_nodes": fields["num_nodes"]} if fields.get("num_nodes") else {}
    return json.dumps({**size, "resources": resources, "run": "true"}, sort_keys=True)


async def hourly_price(client: Client, task_yaml: str) -> float | None:
    """Return dollars an hour for a task at SkyPilot's choice of infra.

    None: infeasible, or no price. Raises SkyError if the server cannot answer now.
    """
    try:
        rows = read_prices(await client.optimize(task_yaml))
    except Rejected:
        return None
    chosen = next((row for row in rows if row["chosen"]), rows[0] if rows else None)
    return None if chosen is None or chosen["cost"] in ("", "-") else float(chosen["cost"])
