"""Choice and replacement of the nodes of a reservation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reserved_cluster import CLUSTER, LATER, NODES, NOW, ONE, busy_job, job_of_ada

from slurmsky.controller.rules.advance_reservations import Reservations
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.states import JobState

COUNTED = replace(ONE, nodes=(), partition="all")


@pytest.mark.parametrize(
    ("flags", "down", "count", "nodes", "after"),
    [
        ((), "n1 n3", 2, "n2 n4", "n2 n4"),
        (("MAINT",), "n1 n3", 3, "n1 n2 n4", "n1 n2 n4"),
        ((), "", 2, "n1 n2", "n3 n4"),
        (("STATIC",), "", 2, "n1 n2", "n1 n2"),
        ((), "", 3, "n1 n2 n3", "n1 n2 n3"),
        (("REPLACE_DOWN",), "", 3, "n1 n2 n3", "n2 n3 n4"),
    ],
)
def test_chosen_nodes_are_available_and_replaced_when_they_are_lost(
    tmp_path: Path, flags: tuple[str, ...], down: str, count: int, nodes: str, after: str
) -> None:
    """n1 and n2 are lost after the choice, unless other nodes are down already."""
    lost = set(down.split())
    store = Store(tmp_path / "queue.db")
    kept = Reservations(store, CLUSTER, lambda: NOW, lambda name: name not in lost)
    assert " ".join(kept.create(replace(COUNTED, flags=flags), count, []).nodes) == nodes
    lost |= set() if down else {"n1", "n2"}
    kept.replace_nodes([])
    assert (" ".join(kept.all["one"].nodes), kept.all["one"].cores) == (after, 4 * count)
    assert Reservations(store, CLUSTER, lambda: NOW).all == kept.all


def test_nodes_that_are_down_or_of_another_reservation_are_not_chosen(tmp_path: Path) -> None:
    kept = Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW, lambda name: name != "n1")
    assert kept.create(replace(COUNTED, name="up"), 4, []).nodes == ("n2", "n3", "n4")
    kept.delete("up", [])
    kept.create(replace(ONE, name="named", flags=("SPEC_NODES",)), 0, [])
    kept.replace_nodes([])
    assert kept.all["named"].nodes == ("n1", "n2"), "the nodes were requested by name"
    assert kept.create(COUNTED, 2, []).nodes == ("n3", "n4")


@pytest.mark.parametrize(
    ("flags", "errno"),
    [(("REPLACE_DOWN", "SPEC_NODES"), Errno.INVALID_NODE_NAME), (("REPLACE_DOWN", "MAINT"), Errno.NOT_SUPPORTED)],
)
def test_replace_down_is_for_chosen_nodes(kept: Reservations, flags: tuple[str, ...], errno: Errno) -> None:
    with pytest.raises(SlurmError) as refused:
        kept.create(replace(ONE, flags=flags), 0, [])
    assert refused.value.errno is errno


def test_replace_exchanges_nodes_that_jobs_use_for_idle_ones(kept: Reservations) -> None:
    kept.create(replace(COUNTED, flags=("REPLACE",)), 2, [])
    assert not kept.replace_nodes([])
    jobs = [busy_job(8, "n1")]
    assert kept.replace_nodes(jobs)
    assert kept.all["one"].nodes == ("n2", "n3"), "the next job of the reservation finds two idle nodes"
    jobs += [busy_job(9, "n2"), busy_job(10, "n3")]
    assert kept.replace_nodes(jobs)
    assert len(kept.all["one"].nodes) == 2 and "n4" in kept.all["one"].nodes, "as many as are idle"
    assert not kept.replace_nodes([*jobs, busy_job(11, "n4")])


@pytest.mark.parametrize(
    ("flags", "made", "after"),
    [((), "n1 n2", "n1 n2"), (("OVERLAP",), "n1 n2", "n2 n3"), (("MAINT",), "n1 n2", "n1 n2")],
)
def test_nodes_of_a_shared_reservation_are_chosen_last(
    tmp_path: Path, flags: tuple[str, ...], made: str, after: str
) -> None:
    """n1 is lost; the other reservation has n3 and n4."""
    lost: set[str] = set()
    kept = Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW, lambda name: name not in lost)
    kept.create(replace(ONE, name="other", nodes=("n3", "n4"), flags=("SPEC_NODES", *flags)), 0, [])
    assert " ".join(kept.create(COUNTED, 2, []).nodes) == made
    lost.add("n1")
    kept.replace_nodes([])
    assert " ".join(kept.all["one"].nodes) == after
    if flags:
        assert kept.create(replace(ONE, name="named", nodes=("n4",)), 0, []).nodes == ("n4",)


@pytest.mark.parametrize(
    ("other", "flags", "count", "nodes"),
    [
        ("MAINT", (), 1, "n3"),
        ("MAINT", (), 3, "n3 n4"),
        ("MAINT", ("OVERLAP",), 3, "n1 n3 n4"),
        ("MAINT", ("MAINT",), 2, "n3 n4"),
        ("DAILY", ("MAINT",), 3, "n1 n3 n4"),
        ("OVERLAP", (), 3, "n1 n3 n4"),
    ],
)
def test_nodes_are_chosen_beside_those_of_other_reservations(
    kept: Reservations, other: str, flags: tuple[str, ...], count: int, nodes: str
) -> None:
    """The other one has n1 and n2; without MAINT or OVERLAP a reservation never gets nodes under maintenance."""
    kept.create(replace(ONE, name="other", flags=("SPEC_NODES", other)), 0, [])
    made = kept.create(replace(COUNTED, name="late", flags=flags), count, [])
    assert " ".join(made.nodes) == nodes


def test_a_count_larger_than_the_partition_means_all_its_nodes(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    assert kept.create(replace(LATER, name="all", nodes=()), 9, []).nodes == ("n1", "n2", "n3", "n4")
    assert kept.create(replace(ONE, name="rest", nodes=()), 9, []).nodes == ("n3", "n4"), "n1 and n2 are reserved"
    with pytest.raises(SlurmError) as caught:
        kept.create(replace(ONE, name="none", nodes=()), 1, [])
    assert caught.value.errno is Errno.NODES_BUSY
    running = replace(job_of_ada(600), state=JobState.RUNNING, start_time=NOW, shares=[NodeShare("n4", "", tasks=1)])
    with pytest.raises(SlurmError):
        kept.create(replace(LATER, name="busy", nodes=(), start=LATER.end, end=LATER.end + 60), 9, [running])


def test_a_changed_count_removes_idle_nodes_first_and_keeps_the_others(kept: Reservations) -> None:
    kept.create(replace(ONE, nodes=("n1", "n2", "n3")), 0, [])
    running = replace(job_of_ada(reservation="one"), state=JobState.RUNNING, start_time=NOW)
    running.shares = [NodeShare("n1", "", tasks=1)]
    kept.update(kept.all["one"], 2, [running])
    assert kept.all["one"].nodes == ("n1", "n3")
    kept.update(kept.all["one"], 3, [running])
    assert kept.all["one"].nodes == ("n1", "n2", "n3")
    kept.update(kept.all["one"], 9, [running])
    assert kept.all["one"].nodes == ("n1", "n2", "n3", "n4")


def test_counted_features_of_a_reservation_are_kept_when_a_node_is_replaced(tmp_path: Path) -> None:
    features = ("f1", "f2", "f3", "f1")
    nodes = tuple(replace(node, features=(feature,)) for node, feature in zip(NODES, features, strict=True))
    down: set[str] = set()
    cluster = replace(CLUSTER, nodes=nodes)
    kept = Reservations(Store(tmp_path / "q.db"), cluster, lambda: NOW, lambda name: name not in down)
    wanted = replace(ONE, nodes=(), features="[f1*1&f2*1&f3*1]", flags=("REPLACE_DOWN",))
    assert kept.create(wanted, 3, []).nodes == ("n1", "n2", "n3")
    down.add("n1")
    assert kept.replace_nodes([])
    assert kept.all["one"].nodes == ("n2", "n3", "n4")
    for text, errno in (("unknown", Errno.INVALID_FEATURE), ("f2", Errno.NODE_CONFIG_UNAVAILABLE)):
        with pytest.raises(SlurmError) as caught:
            kept.create(replace(LATER, nodes=(), features=text), 2, [])
        assert caught.value.errno is errno
