"""Reservations as decisions: who is let in, which nodes are open when, what comes again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from slurmsky.controller.rules import recurrence
from slurmsky.controller.rules.advance_reservations import Reservations
from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.resources import NodeUse, place
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.job import Job
from slurmsky.model.reservation import DAY_S, Reservation
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState, NodeFlag

NOW = 1_800_000_000.0
NODES = tuple(NodeConfig(f"n{number}", cpus=8, threads=2) for number in range(1, 5))
CLUSTER = ClusterConfig(
    nodes=NODES, partitions=(PartitionConfig("all", tuple(node.name for node in NODES), default=True),)
)
ONE = Reservation("one", int(NOW), int(NOW) + 3600, ("n1", "n2"), users=("ada",))
LATER = Reservation("later", int(NOW) + 7200, int(NOW) + 10800, ("n3",), users=("ada",))


@pytest.fixture
def kept(tmp_path: Path) -> Reservations:
    return Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW)


def _job(minutes: int = 60, reservation: str | None = None) -> Job:
    return Job(7, JobSpec(reservation=reservation), "j", "ada", 1, 1, "g", "acct", "all", time_limit_min=minutes)


def _open(kept: Reservations, job: Job, now: float = NOW) -> list[str]:
    return [use.config.name for use in kept.open_to(job, [NodeUse(node) for node in NODES], now)]


@pytest.mark.parametrize(
    ("lists", "admitted"),
    [
        ({"users": ("ada",)}, True),
        ({"users": ("bob",)}, False),
        ({"users": ("-ada",)}, False),
        ({"users": ("-bob",)}, True),
        ({"accounts": ("acct",), "users": ("ada",)}, True),
        ({"accounts": ("other",), "users": ("ada",)}, False),
        ({"groups": ("staff",)}, True),
        ({"groups": ("wheel",)}, False),
    ],
)
def test_who_is_let_in(lists: dict[str, tuple[str, ...]], admitted: bool) -> None:
    one = replace(ONE, **{"users": (), **lists})  # type: ignore[arg-type]
    assert one.admits("ada", frozenset({"staff"}), "acct") is admitted


def test_nodes_open_to_a_job(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    kept.create(LATER, 0, [])
    assert _open(kept, _job()) == ["n3", "n4"]
    assert _open(kept, _job(180)) == ["n4"], "it would still run when n3 is reserved"
    assert _open(kept, _job(reservation="one")) == ["n1", "n2"]
    assert _open(kept, _job(), NOW + 4000) == ["n1", "n2", "n4"]
    assert kept.waits(_job(reservation="later"), NOW) == ("Reservation", LATER.start)
    assert kept.waits(_job(reservation="one,later"), NOW) is None
    assert kept.waits(_job(reservation="gone"), NOW) == ("ReservationDeleted", None)
    assert kept.next_change(NOW) == ONE.end


@pytest.mark.parametrize(
    ("flag", "job", "nodes"),
    [
        ("FLEX", _job(reservation="one"), ["n1", "n2", "n3", "n4"]),
        ("MAGNETIC", _job(), ["n1", "n2", "n3", "n4"]),
        ("MAINT", _job(), ["n3", "n4"]),
    ],
)
def test_flags(kept: Reservations, flag: str, job: Job, nodes: list[str]) -> None:
    kept.create(replace(ONE, flags=(flag,)), 0, [])
    assert _open(kept, job) == nodes
    mark = kept.marks(NOW)["n1"]
    assert mark[1] == "one"
    assert (NodeFlag.MAINT in mark[0]) is (flag == "MAINT")


def test_conflicts(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    with pytest.raises(SlurmError) as overlap:
        kept.create(replace(ONE, name="two"), 0, [])
    assert overlap.value.errno is Errno.RESERVATION_OVERLAP
    kept.create(replace(ONE, name="two", flags=("OVERLAP",)), 0, [])
    with pytest.raises(SlurmError) as busy:
        kept.delete("one", [_job(reservation="one")])
    assert busy.value.errno is Errno.RESERVATION_BUSY
    kept.delete("one", [])
    chosen = kept.create(replace(LATER, name="", nodes=()), 2, [])
    assert (chosen.nodes, chosen.cores, chosen.partition, chosen.name) == (("n1", "n2"), 8, "all", "ada_3")
    with pytest.raises(SlurmError) as few:
        kept.create(replace(LATER, name="five", nodes=()), 5, [])
    assert few.value.errno is Errno.NODES_BUSY


def test_kept_over_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    first = Reservations(store, CLUSTER, lambda: NOW)
    made = first.create(replace(ONE, flags=("DAILY",), max_start_delay_s=60), 0, [])
    assert Reservations(store, CLUSTER, lambda: NOW).all == {"one": made}


def test_over_and_again(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    kept.create(replace(LATER, flags=("DAILY",)), 0, [])
    assert [one.name for one in kept.advance(NOW + 20000)] == ["one", "later"]
    assert [(one.name, one.start) for one in kept.all.values()] == [("later", LATER.start + DAY_S)]


@pytest.mark.parametrize(("flag", "days"), [("WEEKDAY", range(5)), ("WEEKEND", range(5, 7)), ("WEEKLY", range(7))])
def test_days_of_the_week(flag: str, days: range) -> None:
    one: Reservation | None = replace(ONE, flags=(flag,))
    for _ in range(9):
        assert one is not None
        before, one = one.start, recurrence.following(one, one.end)
        assert one is not None and one.start > before and time.localtime(one.start).tm_wday in days


def _cores(kept: Reservations, job: Job, now: float = NOW) -> dict[str, set[int]]:
    """The CPUs that are open to a job, by node."""
    uses = kept.open_to(job, [NodeUse(node) for node in NODES], now)
    return {use.config.name: set(range(use.config.cpus)) - use.cpu_ids for use in uses}


PARTS = Reservation("parts", int(NOW), int(NOW) + 3600, (), users=("ada",))


def test_cores_are_kept(kept: Reservations, tmp_path: Path) -> None:
    made = kept.create(PARTS, 0, [], cores=2)
    assert (made.parts, made.cores, made.nodes, made.partition) == ((("n1", (0, 1, 2, 3)),), 2, ("n1",), "all")
    every = set(range(8))
    assert _cores(kept, _job()) == {"n1": {4, 5, 6, 7}, "n2": every, "n3": every, "n4": every}
    assert _cores(kept, _job(reservation="parts")) == {"n1": {0, 1, 2, 3}}
    assert _cores(kept, _job(), NOW + 4000)["n1"] == every
    assert kept.marks(NOW) == {}, "the node is not reserved as a whole"
    more = kept.create(replace(PARTS, name="more"), 2, [], cores=3)
    assert more.parts == (("n1", (4, 5, 6, 7)), ("n2", (0, 1))) and more.cores == 3
    assert _cores(kept, _job()) == {"n2": every - {0, 1}, "n3": every, "n4": every}
    again = Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW)
    assert again.all == kept.all


def test_whole_nodes_are_no_longer_open_where_cores_are_kept(kept: Reservations) -> None:
    kept.create(replace(PARTS, nodes=("n2",)), 0, [], cores=1)
    uses = {use.config.name: use for use in kept.open_to(_job(), [NodeUse(node) for node in NODES], NOW)}
    demand = demand_of(JobSpec(exclusive="", nodelist="n2"))
    assert demand.exclusive and place(demand, [uses["n2"]]) is None and place(demand_of(JobSpec()), [uses["n2"]])


@pytest.mark.parametrize(
    ("nodes", "count", "cores", "errno"),
    [((), 0, 12, Errno.NODES_BUSY), ((), 0, 11, None), (("n4",), 0, 5, Errno.NODES_BUSY), ((), 0, 0, Errno.NODES_BUSY),
     (("n1",), 0, 2, Errno.NODES_BUSY), (("n2",), 0, 0, Errno.INVALID_CORE_COUNT), ((), 5, 2, Errno.NODES_BUSY)],
)  # fmt: skip
def test_cores_that_there_are(
    kept: Reservations, nodes: tuple[str, ...], count: int, cores: int, errno: Errno | None
) -> None:
    kept.create(replace(ONE, nodes=("n1",)), 0, [])
    running = _job()
    running.state, running.start_time = JobState.RUNNING, NOW
    running.shares = [NodeShare("n2", cpu_ids=(0, 1))]
    # four cores each of n3 and n4 are free, and three of n2
    try:
        made = kept.create(replace(PARTS, nodes=nodes), count, [running], cores=cores)
    except SlurmError as error:
        assert error.errno is errno
    else:
        assert errno is None and made.cores == cores


def test_one_of_cores_moves_in_time(kept: Reservations) -> None:
    made = kept.create(replace(PARTS, nodes=("n3",)), 0, [], cores=2)
    kept.create(replace(LATER, nodes=("n3",)), 0, [])
    kept.update(replace(made, end=made.end + 60), 0, [])
    assert kept.all["parts"].parts == made.parts
    with pytest.raises(SlurmError) as caught:
        kept.update(replace(made, end=LATER.start + 60), 0, [])
    assert caught.value.errno is Errno.NODES_BUSY and kept.all["parts"].end == made.end + 60


HOUR_S = 3600


def _at(hours: float, flag: str = "", minutes: int = 15) -> Reservation:
    start = int(NOW + hours * HOUR_S)
    return replace(ONE, name=f"{flag}{hours}", start=start, end=start + minutes * 60, flags=(flag,) if flag else ())


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        (_at(0), _at(0.2), True),
        (_at(0), _at(1), False),
        (_at(0, "HOURLY"), _at(500), True),
        (_at(0, "HOURLY"), _at(500.5), False),
        (_at(500, "HOURLY"), _at(100), False),  # it begins later
        (_at(0, "DAILY"), _at(24 * 35), True),
        (_at(0, "DAILY"), _at(24 * 35 + 1), False),
        (_at(0, "WEEKLY"), _at(24 * 14), True),
        (_at(0, "WEEKLY"), _at(24 * 15), False),
        (_at(0, "WEEKLY"), _at(24 * 30 + 0.1, "HOURLY"), True),
        (_at(0, "WEEKLY"), _at(24 * 3, "DAILY"), True),
        (_at(0, "WEEKLY"), _at(24 * 3 + 1, "DAILY"), False),
        (_at(0, "WEEKDAY"), _at(24 * 2, "WEEKEND"), False),
        (_at(0, "DAILY"), _at(5, "HOURLY", 30), True),
    ],
)
def test_recurring_reservations_overlap_at_later_times(one: Reservation, other: Reservation, meets: bool) -> None:
    assert recurrence.overlap(one, other) is meets
    assert recurrence.overlap(other, one) is meets


def test_a_reservation_recurs_in_one_way_alone(kept: Reservations) -> None:
    with pytest.raises(SlurmError) as refused:
        kept.create(replace(ONE, flags=("HOURLY", "WEEKDAY")), 0, [])
    assert refused.value.errno is Errno.NOT_SUPPORTED


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
    kept.replace_lost_nodes([])
    assert (" ".join(kept.all["one"].nodes), kept.all["one"].cores) == (after, 4 * count)
    assert Reservations(store, CLUSTER, lambda: NOW).all == kept.all


def test_nodes_that_are_down_or_of_another_reservation_are_not_chosen(tmp_path: Path) -> None:
    kept = Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW, lambda name: name != "n1")
    with pytest.raises(SlurmError) as few:
        kept.create(COUNTED, 4, [])
    assert few.value.errno is Errno.NODES_BUSY
    kept.create(replace(ONE, name="named", flags=("SPEC_NODES",)), 0, [])
    kept.replace_lost_nodes([])
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
