"""The order of a run: what takes longest first, so that no worker is left with it at the end.

pytest-xdist gives out groups of tests in the order of collection (``--no-loadscope-reorder``), a test
without a group alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: groups that take longest, in this order; the name of a group, or a module's path below tests/
LONGEST = (
    *("rig", "oracle-fleet", "oracle-show", "option_behaviour", "oracle-srun", "oracle-steps", "oracle-updates"),
    *("agent/test_srun.py", "oracle-requests", "oracle-env", "bad_inputs", "property/test_languages.py"),
    *("unit/test_packaging.py", "unit/test_launcher.py", "page", "oracle-query", "agent/test_survival.py"),
    *("mpi/test_mpirun.py", "accepted_inputs", "people", "unit/site/test_real_module_systems.py", "examples"),
    *("oracle-reservation", "family/test_documents.py"),
)
UNIT = ("unit", "property")  # their tests are too short to be given out one by one


def group_of(item: pytest.Item) -> str:
    """The tests that run in one worker together with this one; "" for a test without a group."""
    marker = item.get_closest_marker("xdist_group")
    if marker:
        return str(marker.args[0] if marker.args else marker.kwargs["name"])
    place = item.path.relative_to(Path(__file__).parent)
    fixtures = getattr(item, "_fixtureinfo", None)
    shares = fixtures is not None and any(
        definitions[-1].scope == "module" for definitions in fixtures.name2fixturedefs.values()
    )
    return str(place) if shares or place.parts[0] in UNIT else ""


def arrange(items: list[pytest.Item]) -> None:
    """Mark the groups: tests with a fixture of their module, which one worker sets up; and sort by duration."""
    ranks: dict[str, int] = {}
    keys = []
    for item in items:
        group = group_of(item)
        if group and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))
        key = group or item.nodeid
        slow = len(LONGEST) if item.get_closest_marker("slow") else len(LONGEST) + 1
        ranks[key] = min(ranks.get(key, slow), LONGEST.index(key) if key in LONGEST else slow)
        keys.append(key)
    order = sorted(range(len(items)), key=lambda number: ranks[keys[number]])
    items[:] = [items[number] for number in order]
