"""Without a site file any name is accepted, and large jobs get virtual nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slurmsky.controller.jobs.job_spool import Payload
from slurmsky.controller.jobs.job_table import JobTable
from slurmsky.controller.jobs.plan import apply
from slurmsky.controller.jobs.submitter import Submitter, admit
from slurmsky.controller.rules import virtual_nodes
from slurmsky.controller.schedule.scheduler import Scheduler
from slurmsky.controller.slurm_errors import SlurmError
from slurmsky.controller.store.database import Store
from slurmsky.model import plain
from slurmsky.model.allocation import NodeShare
from slurmsky.model.job import Job
from slurmsky.model.spec import JobSpec
from slurmsky.model.states import JobState, NodeState
from slurmsky.site import MachineHardware, load

MACHINE = MachineHardware("laptop.lan", cpus=2, cores=2, memory_mib=16000)
WHO = Submitter("ada", 1000, "ada", 1000, "ada", "/home/ada", "host", 1, "sbatch x")


class World:
    def __init__(self, folder: Path, site: str = "", machine: MachineHardware = MACHINE) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.now = folder, 1_000_000.0
        self.site = load(site, "site.toml", machine)
        self.start()

    def start(self) -> None:
        """A new controller over the same store."""
        self.job_table = JobTable(self.site.cluster, Store(self.folder / "queue.db"), lambda: self.now)
        self.scheduler = Scheduler(self.job_table)

    def submit(self, *specs: JobSpec, **fields: Any) -> Job:
        wanted = [replace(spec, job_name="x") for spec in specs or (JobSpec(**fields),)]
        return admit(self.job_table, wanted, Payload(b"#!/bin/sh\n", "x", (), {}, 0o022, {}), WHO, self.folder / "jobs")

    def starts(self) -> list[int]:
        return [job.job_id for job in apply(self.scheduler.plan(), self.job_table).started]

    def finish(self, job: Job) -> None:
        self.job_table.free_shares(job)
        job.state = JobState.COMPLETED
        self.job_table.touch(job)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


HEADER = JobSpec(
    partition="gpu", account="lab", qos="high", constraint="a100&nvlink", reservation="winter", licenses="matlab:3",
    exclude="bad[1-3]", nodes_min=2, nodes_max=2, gpus_per_node="a100:4", gres="gres/lscratch:100", mem_mib=256 << 10,
    ntasks_per_node=4, cpus_per_task=8,
)  # fmt: skip


def test_a_header_of_a_large_cluster_runs_on_two_virtual_nodes(world: World) -> None:
    job = world.submit(HEADER)
    assert (job.partition, job.num_nodes) == ("gpu", 2)
    assert world.starts() == [job.job_id]
    assert [(s.name, s.cpus, s.tasks, s.memory_mib, s.virtual, s.gpus_absent) for s in job.shares] == [
        ("laptop", 32, 4, 256 << 10, True, True), ("laptop-2", 32, 4, 256 << 10, True, True)]  # fmt: skip
    assert all(len(share.gres["gpu:a100"]) == 4 for share in job.shares)
    assert plain.read(NodeShare, plain.write(job.shares[0])) == job.shares[0]


def test_nodes_and_partitions_are_shown_while_they_are_used(world: World) -> None:
    job = world.submit(HEADER)
    world.starts()
    nodes, cluster = world.job_table.with_virtual_nodes()
    assert [(name, node.config.cpus, node.alloc_cpus, node.state) for name, node in nodes.items()] == [
        ("laptop", 32, 32, NodeState.ALLOCATED), ("laptop-2", 32, 32, NodeState.ALLOCATED)]  # fmt: skip
    assert [(part.name, part.nodes) for part in cluster.partitions] == [
        ("debug", ("laptop", "laptop-2")), ("gpu", ("laptop", "laptop-2"))]  # fmt: skip
    world.finish(job)
    nodes, cluster = world.job_table.with_virtual_nodes()
    assert [(name, node.config.cpus, node.alloc_cpus, node.state) for name, node in nodes.items()] == [
        ("laptop", 2, 0, NodeState.IDLE)]  # fmt: skip
    assert [part.name for part in cluster.partitions] == ["debug", "gpu"]


def test_more_tasks_than_cpus_run_on_one_virtual_node(world: World) -> None:
    job = world.submit(ntasks=4)
    assert world.starts() == [job.job_id]
    assert [(share.name, share.cpus, share.tasks) for share in job.shares] == [("laptop", 4, 4)]


def test_a_job_that_fits_gets_a_part_of_the_machine(world: World) -> None:
    job = world.submit(ntasks=1, mem_mib=8000, constraint="skylake")
    world.starts()
    assert [(share.name, share.cpu_ids, share.virtual) for share in job.shares] == [("laptop", (0,), False)]


def test_jobs_are_paced_by_the_real_cpus(world: World) -> None:
    jobs = [world.submit(nodes_min=2, nodes_max=2), world.submit(ntasks=64), world.submit(ntasks=1)]
    array = world.submit(array="1-4", ntasks=1)
    assert world.starts() == [jobs[0].job_id]
    world.finish(jobs[0])
    assert world.starts() == [jobs[1].job_id]
    world.finish(jobs[1])
    started = world.starts()
    assert len(started) == 2 and started[0] == jobs[2].job_id
    assert array.pending_count == 3


def test_a_restarted_controller_knows_what_virtual_nodes_hold(world: World) -> None:
    large = world.submit(HEADER)
    waiting = world.submit(ntasks=1, partition="long")
    world.starts()
    world.job_table.flush()
    world.start()
    assert world.starts() == []
    assert sorted(world.job_table.with_virtual_nodes()[0]) == ["laptop", "laptop-2"]
    world.finish(world.job_table.jobs[large.job_id])
    assert world.starts() == [waiting.job_id]


def test_devices_are_real_where_the_machine_has_as_many(tmp_path: Path) -> None:
    world = World(tmp_path, machine=replace(MACHINE, gpus=("nvidia_h200",) * 4))
    few = world.submit(nodes_min=2, nodes_max=2, gpus_per_node="a100:1")
    assert world.starts() == [few.job_id]
    assert [share.gres for share in few.shares] == [{"gpu:nvidia_h200": (0,)}, {"gpu:nvidia_h200": (1,)}]
    assert not any(share.gpus_absent for share in few.shares)
    world.finish(few)
    typed = world.submit(gres="gres/gpu:v100:2")
    assert world.starts() == [typed.job_id]
    assert (typed.shares[0].gres, typed.shares[0].virtual) == ({"gpu:nvidia_h200": (0, 1)}, False)
    world.finish(typed)
    many = world.submit(gpus="8")
    world.starts()
    assert many.shares[0].gpus_absent and len(many.shares[0].gres["gpu"]) == 8


def test_components_of_one_job_get_nodes_of_their_own(world: World) -> None:
    leader = world.submit(JobSpec(ntasks=2), JobSpec(nodes_min=2, nodes_max=2, partition="gpu"))
    world.starts()
    parts = world.job_table.components(leader)
    assert [[share.name for share in part.shares] for part in parts] == [["laptop"], ["laptop-2", "laptop-3"]]
    for part in parts:
        world.finish(part)
    assert world.job_table.uses["laptop"].cpu_ids == set()


@pytest.mark.parametrize(
    "fields, names",
    [
        ({"nodelist": "gpu[01-02]"}, ["gpu01", "gpu02"]),
        ({"nodelist": "gpu01", "nodes_min": 2, "nodes_max": 2}, ["gpu01", "laptop"]),
        ({"nodes_min": 2, "nodes_max": 3}, ["laptop", "laptop-2", "laptop-3"]),
        ({"ntasks": 6, "ntasks_per_node": 2}, ["laptop", "laptop-2", "laptop-3"]),
        ({"exclude": "laptop"}, ["laptop-2"]),
        ({"gpus": "3", "nodes_min": 2, "nodes_max": 2}, ["laptop", "laptop-2"]),
        ({"exclusive": "", "nodes_min": 2, "nodes_max": 2}, ["laptop", "laptop-2"]),
        ({"sockets_per_node": 2, "cores_per_socket": 8}, ["laptop"]),
        ({"mem_per_cpu_mib": 64000, "ntasks": 2}, ["laptop"]),
    ],
)
def test_names_of_virtual_nodes(world: World, fields: dict[str, Any], names: list[str]) -> None:
    job = world.submit(**fields)
    assert world.starts() == [job.job_id]
    assert [share.name for share in job.shares] == names


@pytest.mark.parametrize(
    "fields", [{"partition": "a b"}, {"nodelist": "../x"}, {"constraint": "a&&"}, {"nodelist": "x", "exclude": "x"}]
)
def test_what_cannot_be_a_name_is_refused(world: World, fields: dict[str, Any]) -> None:
    with pytest.raises(SlurmError):
        world.submit(**fields)


@pytest.mark.parametrize("site", ["[local]\nstrict = true\n", '[[partition]]\nname = "debug"\ndefault = true\n'])
def test_a_site_file_disables_virtual_nodes(tmp_path: Path, site: str) -> None:
    world = World(tmp_path, site)
    for fields in ({"partition": "gpu"}, {"nodelist": "other"}, {"constraint": "a100"}, {"licenses": "matlab"}):
        with pytest.raises(SlurmError):
            world.submit(**fields)
    world.submit(ntasks=4)
    assert world.starts() == []


def test_unknown_partitions_by_the_site_file(tmp_path: Path) -> None:
    site = '{}\n[[partition]]\nname = "gpu"\n[[partition]]\nname = "cpu"\ndefault = true\n'
    world = World(tmp_path, site.format('unknown_partition = { "gpu*" = "gpu", "old" = "refuse", "*" = "cpu" }'))
    assert [world.submit(partition=name).partition for name in ("gpu-a100", "long", "cpu")] == ["gpu", "cpu", "cpu"]
    with pytest.raises(SlurmError):
        world.submit(partition="old")
    assert World(tmp_path / "b", site.format('unknown_partition = "gpu"')).submit(partition="x").partition == "gpu"


def test_the_note_of_a_job_without_its_gpus(world: World) -> None:
    fit = world.scheduler.fit(HEADER)
    assert virtual_nodes.note([fit], world.site.cluster.nodes[0], 7) == (
        "this machine has 2 CPUs, 15 GiB of memory and no GPU: job 7 runs on 2 virtual nodes that share them"
    )


def test_a_job_that_can_never_start_is_known_at_submit(tmp_path: Path) -> None:
    world = World(tmp_path, '[[partition]]\nname = "short"\nmax_time = "10"\ndefault = true\n')
    found = [world.submit(ntasks=4), world.submit(time_limit_min=20), world.submit(ntasks=1), world.submit(hold=True)]
    assert [world.scheduler.never_starts(job) for job in found] == ["PartitionConfig", "PartitionTimeLimit", "", ""]


def test_a_virtual_node_has_cpus_for_its_own_tasks_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many CPUs as the job has tasks on each of as many nodes would be a million to search."""
    sizes: list[int] = []
    place = virtual_nodes.place

    def watched(demand: Any, uses: Any) -> Any:
        sizes.extend(use.config.cpus for use in uses)
        return place(demand, uses)

    monkeypatch.setattr(virtual_nodes, "place", watched)
    job = world.submit(nodes_min=1000, nodes_max=1000, ntasks=1001)
    assert world.starts() == [job.job_id]
    assert len(job.shares) == 1000 and sum(share.tasks for share in job.shares) == 1001
    assert set(sizes) == {2}
