"""Reads the price table of SkyPilot's optimizer."""

from __future__ import annotations

import re

from ...language.colours import without_colours

_ROW = re.compile(
    r"^\s(?P<infra>\S.*?)\s{2,}(?P<instance>\S.*?)\s{2,}(?P<cpus>\S+)\s{2,}(?P<memory>\S+)\s{2,}"
    r"(?P<gpus>\S.*?)\s{2,}(?P<cost>[\d.]+|-)(?P<chosen>.*)$"
)


def read_prices(text: str) -> list[dict[str, str]]:
    """Parse the optimizer's table "Considered resources".

    The cost is in dollars an hour for all nodes.

    Source: sky/optimizer.py, print_optimized_plan.
    """
    plain = without_colours(text)
    found = []
    for line in plain.partition("Considered resources")[2].splitlines():
        match = _ROW.match(line)
        if match and match["infra"] != "INFRA":
            row = {name: match[name].strip() for name in ("infra", "instance", "cpus", "memory", "gpus", "cost")}
            row["chosen"] = "yes" if "✔" in match["chosen"] else ""
            found.append(row)
    return found
