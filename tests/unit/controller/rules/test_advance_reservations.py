"""Reservations: access, open nodes over time, recurrence."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from reserved_cluster import CLUSTER, LATER, NODES, NOW, ONE, busy_job, job_of_ada

from slurmsky.controller.rules import recurrence
from slurmsky.controller.rules.advance_reservations import Reservations
from slurmsky.controller.rules.demand import demand_of
from slurmsky.controller.rules.job_placement import place
from slurmsky.controller.rules.node_use import NodeUse
from slurmsky.controller.rules.reservation_access import reserved_spec
from slurmsky.controller.rules.reservation_flags import check_flags
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.reservation import DAY_S, FLAGS, Reservation
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState, NodeFlag


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
def test_a_reservation_admits_its_users(lists: dict[str, tuple[str, ...]], admitted: bool) -> None:
    one = replace(ONE, **{"users": (), **lists})  # type: ignore[arg-type]
    assert one.admits("ada", frozenset({"staff"}), "acct") is admitted


def test_nodes_open_to_a_job(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    kept.create(LATER, 0, [])
    assert _open(kept, job_of_ada()) == ["n3", "n4"]
    assert _open(kept, job_of_ada(180)) == ["n4"], "it would still run when n3 is reserved"
    assert _open(kept, job_of_ada(reservation="one")) == ["n1", "n2"]
    assert _open(kept, job_of_ada(), NOW + 4000) == ["n1", "n2", "n4"]
    assert kept.waits(job_of_ada(reservation="later"), NOW) == ("Reservation", LATER.start)
    assert kept.waits(job_of_ada(reservation="one,later"), NOW) is None
    assert kept.waits(job_of_ada(reservation="gone"), NOW) == ("ReservationDeleted", None)
    assert kept.next_change(NOW) == ONE.end


@pytest.mark.parametrize(
    ("flag", "job", "nodes"),
    [
        ("FLEX", job_of_ada(reservation="one"), ["n1", "n2", "n3", "n4"]),
        ("MAGNETIC", job_of_ada(), ["n1", "n2", "n3", "n4"]),
        ("MAINT", job_of_ada(), ["n3", "n4"]),
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
        kept.delete("one", [job_of_ada(reservation="one")])
    assert busy.value.errno is Errno.RESERVATION_BUSY
    kept.delete("one", [])
    chosen = kept.create(replace(LATER, name="", nodes=()), 2, [])
    assert (chosen.nodes, chosen.cores, chosen.partition, chosen.name) == (("n1", "n2"), 8, "all", "ada_3")


def test_reservations_survive_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "queue.db")
    first = Reservations(store, CLUSTER, lambda: NOW)
    made = first.create(replace(ONE, flags=("DAILY",), max_start_delay_s=60), 0, [])
    assert Reservations(store, CLUSTER, lambda: NOW).all == {"one": made}


def test_a_recurring_reservation_moves_to_its_next_time(kept: Reservations) -> None:
    kept.create(ONE, 0, [])
    kept.create(replace(LATER, flags=("DAILY",)), 0, [])
    assert [one.name for one in kept.advance(NOW + 20000, [])] == ["one", "later"]
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
    assert _cores(kept, job_of_ada()) == {"n1": {4, 5, 6, 7}, "n2": every, "n3": every, "n4": every}
    assert _cores(kept, job_of_ada(reservation="parts")) == {"n1": {0, 1, 2, 3}}
    assert _cores(kept, job_of_ada(), NOW + 4000)["n1"] == every
    assert kept.marks(NOW) == {}, "the node is not reserved as a whole"
    more = kept.create(replace(PARTS, name="more"), 2, [], cores=3)
    assert more.parts == (("n1", (4, 5, 6, 7)), ("n2", (0, 1))) and more.cores == 3
    assert _cores(kept, job_of_ada()) == {"n2": every - {0, 1}, "n3": every, "n4": every}
    again = Reservations(Store(tmp_path / "queue.db"), CLUSTER, lambda: NOW)
    assert again.all == kept.all


def test_whole_nodes_are_no_longer_open_where_cores_are_kept(kept: Reservations) -> None:
    kept.create(replace(PARTS, nodes=("n2",)), 0, [], cores=1)
    uses = {use.config.name: use for use in kept.open_to(job_of_ada(), [NodeUse(node) for node in NODES], NOW)}
    demand = demand_of(JobSpec(exclusive="", nodelist="n2"))
    assert demand.exclusive and place(demand, [uses["n2"]]) is None and place(demand_of(JobSpec()), [uses["n2"]])


@pytest.mark.parametrize(
    ("nodes", "count", "cores", "errno"),
    [((), 0, 12, Errno.NODES_BUSY), ((), 0, 11, None), (("n4",), 0, 5, Errno.NODES_BUSY), ((), 0, 0, Errno.NODES_BUSY),
     (("n1",), 0, 2, Errno.NODES_BUSY), (("n2",), 0, 0, Errno.INVALID_CORE_COUNT), ((), 5, 2, Errno.NODES_BUSY)],
)  # fmt: skip
def test_a_reservation_of_cores_needs_existing_cores(
    kept: Reservations, nodes: tuple[str, ...], count: int, cores: int, errno: Errno | None
) -> None:
    kept.create(replace(ONE, nodes=("n1",)), 0, [])
    running = job_of_ada()
    running.state, running.start_time = JobState.RUNNING, NOW
    running.shares = [NodeShare("n2", cpu_ids=(0, 1))]
    # four cores each of n3 and n4 are free, and three of n2
    try:
        made = kept.create(replace(PARTS, nodes=nodes), count, [running], cores=cores)
    except SlurmError as error:
        assert error.errno is errno
    else:
        assert errno is None and made.cores == cores


def test_a_reservation_of_cores_can_be_moved_in_time(kept: Reservations) -> None:
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
        (_at(0, "WEEKDAY"), _at(0), True),  # the first time is as requested, on a day of the week or of its end
        (_at(0, "WEEKEND"), _at(0), True),
    ],
)
def test_recurring_reservations_overlap_at_later_times(one: Reservation, other: Reservation, meets: bool) -> None:
    assert recurrence.overlap(one, other) is meets
    assert recurrence.overlap(other, one) is meets


def test_a_reservation_recurs_in_one_way_alone(kept: Reservations) -> None:
    with pytest.raises(SlurmError) as refused:
        kept.create(replace(ONE, flags=("HOURLY", "WEEKDAY")), 0, [])
    assert refused.value.errno is Errno.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("before", "flags", "errno"),
    [
        ((), ("TIME_FLOAT",), Errno.INVALID_TIME),
        (("TIME_FLOAT",), ("TIME_FLOAT", "DAILY"), Errno.NOT_SUPPORTED),
        (("REPLACE",), ("REPLACE", "STATIC"), Errno.NOT_SUPPORTED),
        (("SPEC_NODES",), ("SPEC_NODES", "REPLACE"), Errno.NOT_SUPPORTED),
        (None, ("TIME_FLOAT", "HOURLY"), Errno.NOT_SUPPORTED),
        (None, ("REPLACE", "SPEC_NODES"), Errno.INVALID_NODE_NAME),
        (None, ("ANY_NODES",), Errno.NOT_SUPPORTED),
    ],
)
def test_flags_exclude_each_other(before: tuple[str, ...] | None, flags: tuple[str, ...], errno: Errno) -> None:
    with pytest.raises(SlurmError) as refused:
        check_flags(replace(ONE, flags=flags), None if before is None else replace(ONE, flags=before))
    assert refused.value.errno is errno


def test_a_floating_reservation_stays_ahead_of_the_clock(tmp_path: Path) -> None:
    now = [NOW]
    store = Store(tmp_path / "queue.db")
    kept = Reservations(store, CLUSTER, lambda: now[0])
    start = int(NOW) + 7200
    kept.create(replace(ONE, start=start, end=start + 600, flags=("TIME_FLOAT",)), 0, [])
    kept.create(replace(LATER, start=start, end=start + 600, float_end=start + 600, flags=("TIME_FLOAT",)), 0, [])
    now[0] += 3600
    for again in (kept, Reservations(store, CLUSTER, lambda: now[0])):
        assert (again.all["one"].start, again.all["one"].end) == (start + 3600, start + 4200)
        assert (again.all["later"].start, again.all["later"].end) == (start + 600, start + 600), "its end is fixed"
        assert _open(again, job_of_ada(60), now[0]) == ["n1", "n2", "n3", "n4"]
        assert _open(again, job_of_ada(180), now[0]) == ["n4"] or _open(again, job_of_ada(180), now[0]) == ["n3", "n4"]
    with pytest.raises(SlurmError) as refused:
        reserved_spec(kept.all, CLUSTER, JobSpec(reservation="one"), "ada", "acct", lambda: "normal")
    assert refused.value.errno is Errno.RESERVATION_ACCESS


def test_purge_comp_ends_an_idle_reservation(kept: Reservations) -> None:
    kept.create(replace(ONE, flags=("PURGE_COMP",), purge_comp_s=60), 0, [])
    kept.create(replace(LATER, start=ONE.start, end=ONE.end, flags=("DAILY", "PURGE_COMP"), purge_comp_s=60), 0, [])
    job = busy_job(8, "n1")
    assert kept.advance(NOW, [job]) == []
    assert kept.advance(NOW + 10, []) == []
    assert kept.next_change(NOW + 10) == NOW + 60
    assert [one.name for one in kept.advance(NOW + 61, [job])] == ["later"], "a job uses the other one"
    assert kept.all["later"].start == ONE.start + DAY_S
    assert kept.advance(NOW + 70, []) == []
    assert [one.name for one in kept.advance(NOW + 130, [])] == ["one"]


def test_purge_comp_counts_the_idle_time_of_this_reservation_and_occurrence_only(kept: Reservations) -> None:
    idle = replace(ONE, flags=("DAILY", "PURGE_COMP"), purge_comp_s=60)
    kept.create(idle, 0, [])
    assert kept.advance(NOW, []) == []
    kept.delete("one", [])
    assert kept.next_change(NOW) is None
    kept.create(idle, 0, [])
    assert kept.advance(NOW + 70, []) == [], "the idle time of its namesake"
    kept.update(replace(kept.all["one"], start=ONE.start + DAY_S, end=ONE.end + DAY_S), 0, [])  # scontrol's skip
    assert kept.advance(NOW + 80, []) == []
    assert kept.advance(ONE.start + DAY_S, []) == [], "the idle time of the day before"


def test_a_forced_recurring_reservation_began_in_the_past(kept: Reservations) -> None:
    early = replace(ONE, start=ONE.start - 1800, end=ONE.end - 1800)
    with pytest.raises(SlurmError) as refused:
        kept.create(replace(early, flags=("DAILY",)), 0, [])
    assert refused.value.errno is Errno.INVALID_TIME
    assert kept.create(replace(early, flags=("DAILY", "FORCE_START")), 0, []).active(NOW)


@pytest.mark.parametrize(
    ("rule", "partition", "qos", "found"),
    [
        ({"allowed_partitions": ("all",)}, "all,other", "normal", "all"),
        ({"allowed_partitions": ("-all",)}, "other", "normal", "other"),
        ({"allowed_partitions": ("all",)}, "other", "normal", Errno.INVALID_PARTITION),
        ({"allowed_partitions": ("-all",)}, "all", "normal", Errno.INVALID_PARTITION),
        ({"qos": ("high",)}, "all", "high", "all"),
        ({"qos": ("high",)}, "all", "normal", Errno.INVALID_QOS),
        ({"qos": ("-high",)}, "all", "high", Errno.INVALID_QOS),
        ({"qos": ("high",)}, "all", "normal,high", "all"),
        ({"qos": ("high",)}, "all", "normal,low", Errno.INVALID_QOS),
    ],
)
def test_partitions_and_qos_of_a_reservation(
    rule: dict[str, tuple[str, ...]], partition: str, qos: str, found: str | Errno
) -> None:
    known = {"one": replace(ONE, users=(), **rule)}  # type: ignore[arg-type]
    spec = JobSpec(reservation="one", partition=partition)
    try:
        result: str | Errno | None = reserved_spec(
            known, CLUSTER, spec, "ada", "acct", lambda: qos.split(",")
        ).partition
    except SlurmError as error:
        result = error.errno
    assert result == found


@pytest.mark.parametrize(
    ("word", "sign", "names"),
    [
        ("maintenance", "", "MAINT"),
        ("r", "", "REPLACE"),
        ("replace_d", "", "REPLACE_DOWN"),
        ("replace", "-", ""),
        ("w", "", "WEEKDAY WEEKEND WEEKLY"),
        ("static_alloc", "+", "STATIC"),
        ("license_only", "", "ANY_NODES"),
        ("time_float", "+", ""),
        ("overlap", "-", ""),
        ("purge", "-", "PURGE_COMP"),
        ("spec_nodes", "", ""),
        ("first_cores", "", ""),
    ],
)
def test_words_and_signs_of_flags(word: str, sign: str, names: str) -> None:
    assert [flag.name for flag in FLAGS if flag.matches_word(word, sign)] == names.split()


def test_a_maintenance_in_more_than_a_week_does_not_close_its_nodes_to_a_daily_reservation() -> None:
    daily = replace(ONE, name="daily", flags=("DAILY",))
    for days, closed in ((1, True), (7, True), (8, False)):
        start = ONE.start + days * DAY_S
        maintenance = replace(ONE, name="maint", flags=("MAINT",), start=start, end=start + 60)
        assert recurrence.overlap(maintenance, daily, NOW) is closed
        assert recurrence.overlap(replace(maintenance, flags=()), daily, NOW)
