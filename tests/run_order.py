"""Order of a run: long tests first.

No worker then has a long test left at the end.

pytest-xdist gives out groups of tests in the order of collection (``--no-loadscope-reorder``), a test
without a group alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

#: groups that take longest, in this order; the name of a group, or a module's path below tests/
LONGEST = (
    *("rig", "oracle-fleet", "oracle-show", "option_behaviour", "oracle-srun", "oracle-steps", "oracle-updates"),
    *("agent/test_srun.py", "oracle-requests", "oracle-env", "bad_inputs", "property/test_languages.py"),
    *("unit/test_packaging.py", "unit/test_launcher.py", "page", "oracle-query", "agent/test_survival.py"),
    *("mpi/test_mpirun.py", "accepted_inputs", "people", "unit/site/test_real_module_systems.py", "examples"),
    *("oracle-reservation", "family/test_documents.py", "syntax trees"),
)
UNIT = ("unit/", "property/")  # their tests are too short to be given out one by one
SLOW = 20  # a test marked slow lasts as long as this number of others


@cache  # thousands of tests in some hundred modules
def _place(path: Path) -> str:
    return str(path.relative_to(Path(__file__).parent))


def group_of(item: pytest.Item) -> str:
    """The group of tests that one worker runs with this one; "" for none."""
    marker = item.get_closest_marker("xdist_group")
    if marker:
        return str(marker.args[0] if marker.args else marker.kwargs["name"])
    if hasattr(getattr(item, "module", None), "tree_of"):
        return "syntax trees"  # one worker parses each module once
    place = _place(item.path)
    fixtures = getattr(item, "_fixtureinfo", None)
    shares = fixtures is not None and any(
        definitions[-1].scope == "module" for definitions in fixtures.name2fixturedefs.values()
    )
    return place if shares or place.startswith(UNIT) else ""


def order_of(tests: Sequence[tuple[str, bool]]) -> list[int]:
    """The numbers of the tests in the order of their run.

    A test is its group and whether it is marked slow.

    Most tests outside ``UNIT`` wait for processes, and those inside compute: spread evenly over the time of the others,
    they use the cores meanwhile.
    """
    places = {group: (rank, 0.0) for rank, group in enumerate(LONGEST)}
    others = sorted((test for test in tests if test[0] not in places), key=lambda test: not test[1])
    passed, total = Counter[bool](), Counter[bool]()
    for group, slow in others:
        total[group.startswith(UNIT)] += SLOW if slow else 1
    for group, slow in others:
        computes = group.startswith(UNIT)
        places.setdefault(group, (len(LONGEST), passed[computes] / total[computes]))
        passed[computes] += SLOW if slow else 1
    return sorted(range(len(tests)), key=lambda number: places[tests[number][0]])


def arrange(items: list[pytest.Item]) -> None:
    """Mark the groups of tests with a fixture of their module, and sort by duration."""
    tests = []
    for item in items:
        group = group_of(item)
        if group and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(group))
        tests.append((group or item.nodeid, item.get_closest_marker("slow") is not None))
    items[:] = [items[number] for number in order_of(tests)]
