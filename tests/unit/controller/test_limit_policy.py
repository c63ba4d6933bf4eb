"""QOS and accounts, as recorded from Slurm 22.05 with AccountingStorageEnforce=limits,qos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurmsky.controller.jobs.job_spool import Payload
from slurmsky.controller.jobs.job_table import JobTable
from slurmsky.controller.jobs.plan import apply
from slurmsky.controller.jobs.submitter import Submitter, admit
from slurmsky.controller.schedule.scheduler import Scheduler
from slurmsky.controller.slurm_errors import Errno, SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model.job import Job
from slurmsky.model.policy import AccountConfig, Limits, UserAssociation
from slurmsky.model.reservation import Reservation
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobState
from slurmsky.site import load

SITE = """cluster = "mov"
[[node]]
names = "m[1-2]"
cpus = 8
cores = 8
memory_mib = 4000
gres = "gpu:h100:4"
[[partition]]
name = "debug"
default = true
[[partition]]
name = "vis"
allow_accounts = "vision"
[[partition]]
name = "lq"
allow_qos = "long"
[[partition]]
name = "mm"
max_mem_per_node_mib = 1000
[[partition]]
name = "pq"
qos = "part"
[[partition]]
name = "staff"
allow_groups = "staff"
[[partition]]
name = "rt"
root_only = true
[[partition]]
name = "ex"
oversubscribe = "EXCLUSIVE"
[[partition]]
name = "first"
priority_tier = 5
[[partition]]
name = "small"
max_time = 60
max_nodes = 1
[[partition]]
name = "large"
min_nodes = 2
max_nodes = 1

[[qos]]
name = "exempt"
flags = ["PartitionTimeLimit", "PartitionMaxNodes"]
[[qos]]
name = "few"
flags = ["PartitionMinNodes"]
[[qos]]
name = "long"
max_wall = 60
priority = 10
[[qos]]
name = "deny"
max_wall = 60
flags = ["DenyOnLimit"]
max_tres = "cpu=2,mem=500M,gres/gpu=1"
[[qos]]
name = "part"
max_tres = "cpu=2"
[[qos]]
name = "over"
max_tres = "cpu=6"
flags = ["OverPartQOS"]
[[qos]]
name = "jobs1"
max_jobs_per_user = 1
[[qos]]
name = "sub1"
max_submit_jobs_per_user = 1
[[qos]]
name = "user4"
max_tres_per_user = "cpu=4,gres/gpu=2,node=1"
[[qos]]
name = "acct4"
max_tres_per_account = "cpu=4"
[[qos]]
name = "grp4"
grp_tres = "cpu=4,mem=1000"
[[qos]]
name = "minc"
min_tres = "cpu=2"
[[qos]]
name = "grpj"
grp_jobs = 1
[[qos]]
name = "grpsub"
grp_submit_jobs = 1
[[qos]]
name = "mins"
max_tres_mins = "cpu=60"
[[qos]]
name = "nodes"
max_tres = "node=1,gres/gpu=2"
max_tres_per_node = "cpu=6"
[[qos]]
name = "ajobs"
max_jobs_per_account = 1
[[qos]]
name = "asub"
max_submit_jobs_per_account = 1

[[account]]
name = "root2"
default = true
[[account]]
name = "vision"
max_jobs = 1
[[account]]
name = "language"
qos = ["long"]
default_qos = "long"
grp_tres = "cpu=4"
"""
POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


class World:
    """A job table with a stopped clock; ``submit`` admits jobs, ``reasons`` returns the pending reasons."""

    def __init__(self, folder: Path, site: str = SITE) -> None:
        self.folder = folder
        self.store = Store(folder / "queue.db")
        self.job_table = JobTable(load(site, "site.toml").cluster, self.store, lambda: 1_000_000.0)
        self.scheduler = Scheduler(self.job_table)

    def submit(self, uid: int = 1000, user: str = "ada", groups: str = "ada", **fields: Any) -> Job:
        who = Submitter(user, uid, user, uid, user, "/home", "host", 1, "sbatch x", frozenset(groups.split(",")))
        payload = Payload(b"#!/bin/sh\n", "x", (), {}, 0o022, {})
        return admit(self.job_table, [JobSpec(job_name="x", **fields)], payload, who, self.folder / "jobs")

    def pass_(self) -> None:
        apply(self.scheduler.plan(), self.job_table)


@pytest.fixture
def world(tmp_path: Path) -> Any:
    world = World(tmp_path)
    yield world
    world.store.close()


#: submissions one after the other, and what the last one waits for ("" = it runs)
WAITING: list[tuple[list[dict[str, Any]], str]] = [
    ([{"qos": "long", "time_limit_min": 90}], "QOSMaxWallDurationPerJobLimit"),
    ([{"qos": "jobs1"}], ""),
    ([{"qos": "jobs1"}, {"qos": "jobs1"}], "QOSMaxJobsPerUserLimit"),
    ([{"qos": "user4", "ntasks": 3}, {"qos": "user4", "ntasks": 2}], "QOSMaxCpuPerUserLimit"),
    ([{"qos": "user4", "ntasks": 5}], "QOSMaxCpuPerUserLimit"),
    ([{"qos": "user4", "gres": "gpu:3"}], "QOSMaxGRESPerUser"),
    ([{"qos": "user4", "nodes_min": 2, "nodes_max": 2}], "QOSMaxNodePerUserLimit"),
    ([{"qos": "acct4", "ntasks": 3}, {"qos": "acct4", "ntasks": 2}], "MaxCpuPerAccount"),
    ([{"qos": "grp4", "ntasks": 3, "mem_mib": 100}, {"qos": "grp4", "ntasks": 2, "mem_mib": 100}], "QOSGrpCpuLimit"),
    ([{"qos": "grp4", "mem_mib": 100}, {"qos": "grp4", "mem_mib": 950}], "QOSGrpMemLimit"),
    ([{"qos": "grpj"}, {"qos": "grpj"}], "QOSGrpJobsLimit"),
    ([{"qos": "ajobs"}, {"qos": "ajobs"}], "MaxJobsPerAccount"),
    ([{"qos": "minc"}], "QOSMinCpuNotSatisfied"),
    ([{"qos": "mins", "ntasks": 4, "time_limit_min": 30}], "QOSMaxCpuMinutesPerJobLimit"),
    ([{"qos": "mins", "ntasks": 1, "time_limit_min": 30}], ""),
    ([{"qos": "nodes", "nodes_min": 2, "nodes_max": 2}], "QOSMaxNodePerJobLimit"),
    ([{"qos": "nodes", "gres": "gpu:3"}], "QOSMaxGRESPerJob"),
    ([{"qos": "nodes", "ntasks": 7}], "QOSMaxCpuPerNode"),
    ([{"partition": "pq", "ntasks": 3}], "QOSMaxCpuPerJobLimit"),
    ([{"partition": "pq", "ntasks": 3, "qos": "over"}], ""),
    ([{"partition": "vis"}], "AccountNotAllowed"),
    ([{"partition": "vis", "account": "vision"}], ""),
    ([{"account": "vision"}, {"account": "vision"}], "AssocMaxJobsLimit"),
    ([{"account": "language", "ntasks": 5}], "AssocGrpCpuLimit"),
    ([{"partition": "lq"}], "QOSNotAllowed"),
    ([{"partition": "lq", "qos": "long"}], ""),
    ([{"partition": "mm", "mem_mib": 2000}], "MaxMemPerLimit"),
    ([{"partition": "small", "time_limit_min": 90}], "PartitionTimeLimit"),
    ([{"partition": "small", "time_limit_min": 90, "qos": "few"}], "PartitionTimeLimit"),
    ([{"partition": "small", "time_limit_min": 90, "qos": "exempt"}], ""),
    ([{"partition": "small", "nodes_min": 2, "nodes_max": 2}], "PartitionNodeLimit"),
    ([{"partition": "small", "nodes_min": 2, "nodes_max": 2, "qos": "exempt"}], ""),
    ([{"partition": "large"}], "PartitionNodeLimit"),
    ([{"partition": "large", "qos": "few"}], ""),
]


@pytest.mark.parametrize(("jobs", "reason"), WAITING)
def test_why_a_job_waits(world: World, jobs: list[dict[str, Any]], reason: str) -> None:
    records = [world.submit(**fields) for fields in jobs]
    world.pass_()
    last = records[-1]
    assert (last.state, last.reason) == ((JobState.PENDING, reason) if reason else (JobState.RUNNING, "None"))
    assert all(job.state is JobState.RUNNING for job in records[:-1])


@pytest.mark.parametrize(
    ("jobs", "text", "detail"),
    [
        ([{"qos": "nosuch"}], "Invalid qos specification", ()),
        ([{"account": "language", "qos": "deny"}], "Invalid qos specification", ()),
        ([{"account": "nosuch"}], "Invalid account or account/partition combination specified", ()),
        ([{"qos": "deny", "time_limit_min": 90}], POLICY, ("QOSMaxWallDurationPerJobLimit",)),
        ([{"qos": "deny", "ntasks": 3}], POLICY, ("QOSMaxCpuPerJobLimit",)),
        ([{"qos": "deny", "mem_mib": 600}], POLICY, ("QOSMaxMemoryPerJob",)),
        ([{"qos": "deny", "mem_mib": 100, "gres": "gpu:2"}], POLICY, ("QOSMaxGRESPerJob",)),
        ([{"qos": "sub1"}, {"qos": "sub1"}], POLICY, ("QOSMaxSubmitJobPerUserLimit",)),
        ([{"qos": "sub1", "array": "1-3"}], POLICY, ("QOSMaxSubmitJobPerUserLimit",)),
        ([{"qos": "grpsub"}, {"qos": "grpsub"}], POLICY, ("QOSGrpSubmitJobsLimit",)),
        ([{"qos": "asub"}, {"qos": "asub"}], POLICY, ("MaxSubmitJobsPerAccount",)),
        ([{"partition": "staff"}], "User's group not permitted to use this partition", ()),
        ([{"partition": "rt"}], "Access/permission denied", ()),
    ],
)
def test_what_is_refused(world: World, jobs: list[dict[str, Any]], text: str, detail: tuple[str, ...]) -> None:
    for fields in jobs[:-1]:
        world.submit(**fields)
    before = world.job_table.next_job_id
    with pytest.raises(SlurmError) as caught:
        world.submit(**jobs[-1])
    assert (caught.value.text, caught.value.details) == (text, detail)
    assert world.job_table.next_job_id == before, "a refused job has no id"


def test_a_job_with_several_qos_starts_in_the_best_that_has_room(world: World) -> None:
    """Source: job_mgr.c _get_qos_ptr_list; job_scheduler.c tries each QOS of a job."""
    first, second, third = (world.submit(qos="jobs1,long,jobs1") for _ in range(3))
    assert first.qos == "long", "the highest priority"
    world.pass_()
    assert [job.qos for job in (first, second, third)] == ["long"] * 3
    jobs = [world.submit(qos="user4,jobs1", ntasks=3) for _ in range(3)]
    world.pass_()
    assert [(job.state.name, job.qos, job.reason) for job in jobs] == [
        ("RUNNING", "user4", "None"),
        ("RUNNING", "jobs1", "None"),
        ("PENDING", "user4", "QOSMaxJobsPerUserLimit"),
    ]
    for text in ("long,", "long,nosuch"):
        with pytest.raises(SlurmError, match="Invalid qos specification"):
            world.submit(qos=text)


def test_components_of_a_het_job_count_together(world: World) -> None:
    """Source: acct_policy_validate_het_job."""
    one = JobSpec(job_name="x", qos="deny", mem_mib=100)
    who = Submitter("ada", 1000, "ada", 1000, "ada", "/home", "host", 1, "sbatch x", frozenset())
    payload = Payload(b"#!/bin/sh\n", "x", (), {}, 0o022, {})
    assert admit(world.job_table, [one, one], payload, who, world.folder / "jobs").het_ids
    with pytest.raises(SlurmError) as caught:
        admit(world.job_table, [one] * 3, payload, who, world.folder / "jobs")
    assert (caught.value.text, caught.value.details) == (POLICY, ("QOSMaxCpuPerJobLimit",))


def test_who_may_use_a_partition(world: World) -> None:
    assert world.submit(partition="staff", groups="ada,staff").partition == "staff"
    assert world.submit(partition="staff", uid=0, user="root").partition == "staff"
    assert world.submit(partition="rt", uid=0, user="root").partition == "rt"


def test_the_account_and_qos_of_a_job_that_names_none(world: World) -> None:
    job = world.submit()
    assert (job.account, job.qos, job.time_limit_min) == ("root2", "normal", INFINITE)
    job = world.submit(account="language")
    assert (job.qos, job.time_limit_min) == ("long", 60), "without a limit of its own it gets its QOS' MaxWall"


def test_limits_of_a_users_association_and_of_the_accounts_above(world: World) -> None:
    """The nearest association with a limit of jobs decides; limits of groups hold in each."""
    overrides = world.job_table.overrides
    overrides.accounts["top"] = AccountConfig("top", limits=Limits(max_jobs_per_user=3, grp_tres=(("cpu", 5),)))
    overrides.accounts["sub"] = AccountConfig("sub", parent="top")
    world.job_table.store_accounting()
    jobs = [world.submit(account="sub", ntasks=2) for _ in range(2)]
    last = world.submit(account="sub", ntasks=2)
    world.pass_()
    assert [job.state for job in jobs] == [JobState.RUNNING] * 2
    assert (last.state, last.reason) == (JobState.PENDING, "AssocGrpCpuLimit")
    own = UserAssociation("sub", last.user, limits=Limits(max_jobs_per_user=2, max_wall_min=9))
    overrides.associations[f"sub/{last.user}"] = own
    world.job_table.store_accounting()
    world.pass_()
    assert last.reason == "AssocMaxJobsLimit"


def test_a_limit_is_free_again_when_a_job_ends(world: World) -> None:
    first, second = world.submit(qos="jobs1"), world.submit(qos="jobs1")
    world.pass_()
    world.job_table.free_shares(first)
    first.state, first.shares = JobState.COMPLETED, []
    world.job_table.touch(first)
    world.pass_()
    assert second.state is JobState.RUNNING


def test_an_array_starts_as_many_elements_as_its_qos_has_room_for(world: World) -> None:
    job = world.submit(qos="jobs1", array="1-3")
    world.pass_()
    assert (len(world.job_table.active), job.pending_count, job.reason) == (1, 2, "QOSMaxJobsPerUserLimit")


def test_tier_then_qos_then_age_decide_who_is_first(world: World) -> None:
    old = world.submit(ntasks=16)
    quick = world.submit(ntasks=16, qos="long")
    world.pass_()
    assert (old.state, quick.state) == (JobState.PENDING, JobState.RUNNING)
    world.job_table.free_shares(quick)
    quick.state, quick.shares = JobState.COMPLETED, []
    world.job_table.touch(quick)
    tier = world.submit(ntasks=16, partition="first")
    world.pass_()
    assert (old.state, tier.state) == (JobState.PENDING, JobState.RUNNING)


def test_an_exclusive_partition_gives_whole_nodes(world: World) -> None:
    job = world.submit(partition="ex")
    world.pass_()
    assert [share.cpus for share in job.shares] == [8]


def test_without_qos_in_the_site_file_any_name_is_accepted(tmp_path: Path) -> None:
    world = World(tmp_path, 'cluster = "c"\n[[node]]\nnames = "n1"\ncpus = 4\nmemory_mib = 100\n')
    job = world.submit(qos="anything", account="anyone")
    world.pass_()
    assert (job.qos, job.account, job.state) == ("anything", "anyone", JobState.RUNNING)
    world.store.close()


def test_a_waiting_job_of_a_qos_with_noreserve_delays_no_other_job(tmp_path: Path) -> None:
    world = World(tmp_path, SITE + '[[qos]]\nname = "idle"\nflags = ["NoReserve"]\n')
    for qos, starts in (("idle", True), ("normal", False)):
        running = world.submit(ntasks=4, mem_mib=1, time_limit_min=10)
        world.pass_()
        waiting = world.submit(nodes_min=2, nodes_max=2, exclusive="", mem_mib=1, time_limit_min=10, qos=qos)
        later = world.submit(ntasks=4, mem_mib=1, time_limit_min=600)
        world.pass_()
        assert running.state is JobState.RUNNING
        assert waiting.reason == "Resources"
        assert (later.state is JobState.RUNNING) == starts
        for job in (running, waiting, later):
            if job.shares:
                world.job_table.free_shares(job)
            job.state, job.shares = JobState.COMPLETED, []
            world.job_table.touch(job)
    world.store.close()


def test_a_qos_that_requires_a_reservation_admits_no_other_job(tmp_path: Path) -> None:
    world = World(tmp_path, SITE + '[[qos]]\nname = "reserved"\nflags = ["RequiresReservation"]\n')
    held = Reservation("kept", 1_000_000, 1_003_600, ("n1",), users=("ada",))
    node = world.job_table.cluster.nodes[0].name
    world.job_table.reservations.create(replace(held, nodes=(node,)), 0, [])
    assert world.submit(qos="reserved", reservation="kept").qos == "reserved"
    with pytest.raises(SlurmError) as refused:
        world.submit(qos="reserved")
    assert refused.value.errno is Errno.INVALID_QOS
    world.store.close()


def test_limits_of_a_partition_that_a_qos_lifts_refuse_no_job_of_it(tmp_path: Path) -> None:
    """EnforcePartLimits refuses other jobs at submit; an exempt job may have --time-min above the limit."""
    world = World(tmp_path, SITE + '[limits]\nenforce_part_limits = "ALL"\n')
    for wanted in (
        {"time_limit_min": 90},
        {"time_limit_min": 90, "time_min_min": 80},
        {"nodes_min": 2, "nodes_max": 2},
    ):
        with pytest.raises(SlurmError):
            world.submit(partition="small", **wanted)
        job = world.submit(partition="small", qos="exempt", **wanted)
        world.pass_()
        assert job.state is JobState.RUNNING
        assert job.time_limit_min == wanted.get("time_limit_min", 60)
        world.job_table.free_shares(job)
        job.state, job.shares = JobState.COMPLETED, []
        world.job_table.touch(job)
    world.store.close()
