"""Records of the jobs and nodes whose real Slurm output lies in golden/, built by hand.

golden/waiting, running and finished are three moments of a Slurm 22.05.8 with the nodes of
tests/oracle/site.toml; each file's head names the command and the time it was run (epoch seconds).
"""

from __future__ import annotations

from datetime import timezone
from pathlib import Path
from typing import Any

import pytest

from slurmsky.model.allocation import NodeShare
from slurmsky.model.cluster import ClusterConfig, NodeConfig, PartitionConfig
from slurmsky.model.job import Job, Node, Step, Usage
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobState, NodeState
from slurmsky.report.context import Context
from slurmsky.report.text import Clock

GOLDEN = Path(__file__).parent / "golden"
HOME = "/home/ada/run"

NODES = tuple(
    NodeConfig(
        f"n{i}",
        host_name="vm",
        port=17000 + i,
        cpus=8,
        sockets=1,
        cores=8,
        threads=1,
        memory_mib=4000,
        gres=(("gpu", "h100", 4),),
        arch="x86_64",
        os="Linux 6.18.44-fc-v445 #1 SMP PREEMPT_DYNAMIC @0",
    )
    for i in (1, 2, 3, 4)
)
CLUSTER = ClusterConfig(
    name="oracle",
    nodes=NODES,
    max_array_size=100001,
    partitions=(
        PartitionConfig("debug", ("n1", "n2", "n3", "n4"), default=True, nodes_text="ALL"),
        PartitionConfig("gpu", ("n3", "n4"), max_time_min=1440, nodes_text="n[3-4]"),
    ),
)


class Golden:
    """A recorded output: its text without the head, and when it was recorded."""

    def __init__(self, moment: str, name: str) -> None:
        head, _, rest = (GOLDEN / moment / f"{name}.txt").read_text().partition("\n")
        at, _, self.text = rest.partition("\n")
        self.command = head
        self.now = float(at.split()[-1])

    @property
    def context(self) -> Context:
        return Context(Clock(self.now, timezone.utc), CLUSTER)


def share(name: str, cpu_ids: Any, gpus: Any = None, tasks: int = 1) -> NodeShare:
    return NodeShare(
        name,
        cpu_ids=tuple(cpu_ids),
        gres={"gpu:h100": tuple(gpus)} if gpus else {},
        tasks=tasks,
        cpus_on_node=8,
    )


def job(job_id: int, name: str, spec: JobSpec | None = None, **facts: Any) -> Job:
    pattern = "slurm-%A_%a.out" if "array_job_id" in facts else "slurm-%j.out"
    basics: dict[str, Any] = {
        "user": "root",
        "uid": 0,
        "gid": 0,
        "group": "root",
        "account": "root",
        "partition": "debug",
        "cluster": "oracle",
        "command": f"{HOME}/ok.sh",
        "work_dir": HOME,
        "submit_dir": HOME,
        "stdout": f"{HOME}/{pattern}",
        "alloc_node": "localhost",
        "alloc_sid": 22225,
    }
    return Job(job_id, spec or JobSpec(), name, **{**basics, **facts})


def waiting_jobs() -> list[Job]:
    """golden/waiting: nothing has started; three are held, one waits for its begin time."""
    t = 1795249370.0  # 08:22:50
    queued = {
        "submit_time": t,
        "eligible_time": t,
        "accrue_time": t,
        "last_sched_eval": t + 1,
        "reason": "Priority",
    }
    held = {"submit_time": t, "last_sched_eval": t, "reason": "JobHeldUser", "priority": 0}
    return [
        job(
            70241,
            "spec",
            JobSpec(
                nodes_min=2,
                nodes_max=2,
                ntasks_per_node=2,
                ntasks_per_core=1,
                sockets_per_node=1,
                threads_per_core=1,
                gpus_per_node="h100:1",
                mem_mib=1024,
                tmp_mib=2048,
                contiguous=True,
                requeue=False,
                reboot=True,
                switches="1@10",
                nice=-5,
                deadline=int(t) + 2 * 86400,
                time_min_min=10,
                exclusive="",
                time_limit_min=20,
                hold=True,
            ),
            nice=-5,
            time_limit_min=20,
            num_nodes=2,
            max_nodes=2,
            num_cpus=4,
            num_tasks=4,
            **held,
        ),
        job(
            70242,
            "heldarr",
            JobSpec(nodes_min=2, nodes_max=3, mem_per_cpu_mib=100),
            array_job_id=70242,
            pending_tasks=(range(1, 6),),
            array_max_running=2,
            num_nodes=2,
            max_nodes=3,
            num_tasks=2,
            **held,
        ),
        job(
            70243,
            "steps",
            JobSpec(nodes_min=2, nodes_max=2, ntasks=2, mem_mib=10, gpus_per_node="1"),
            time_limit_min=30,
            num_nodes=2,
            max_nodes=2,
            num_cpus=2,
            num_tasks=2,
            priority=4294901713,
            command=f"{HOME}/steps.sh",
            **queued,
        ),
        job(
            70244,
            "arr",
            JobSpec(exclude="n4", cpus_per_task=1),
            array_job_id=70244,
            pending_tasks=(range(3, 9),),
            array_max_running=1,
            priority=4294901712,
            command=f"{HOME}/arr.sh",
            **{**queued, "eligible_time": t + 1, "accrue_time": t + 1},
        ),
        job(70245, "het", JobSpec(ntasks=1, mem_mib=10), het_job_id=70245, het_ids=(70245, 70246), **held),
        job(
            70246,
            "het",
            JobSpec(ntasks=2, mem_mib=20),
            het_job_id=70245,
            het_offset=1,
            het_ids=(70245, 70246),
            num_cpus=2,
            num_tasks=2,
            **held,
        ),
        job(
            70247,
            "pend",
            JobSpec(nodes_min=4, nodes_max=4, exclusive=""),
            partition="debug,gpu",
            time_limit_min=300,
            num_nodes=4,
            max_nodes=4,
            num_cpus=4,
            num_tasks=4,
            priority=4294901711,
            submit_time=t,
            eligible_time=t + 3600,
            accrue_time=t + 3600,
            start_time=t + 3600,
            end_time=t + 3600 + 5 * 3600,
            last_sched_eval=t,
            reason="BeginTime",
        ),
        job(
            70248,
            "dep",
            JobSpec(dependency="afterok:70243"),
            argv=("a1", "b 2"),
            priority=4294901710,
            dependency="afterok:70243",
            dependency_shown="afterok:70243(unfulfilled)",
            stdout=f"{HOME}/out-%j-%x-%A_%a.txt",
            stderr=f"{HOME}/err.%N",
            **{
                **queued,
                "reason": "Dependency",
                "eligible_time": 0.0,
                "accrue_time": 0.0,
                "last_sched_eval": t,
            },
        ),
        job(
            70249,
            "failed",
            JobSpec(ntasks=2),
            num_cpus=2,
            num_tasks=2,
            priority=4294901709,
            command=f"{HOME}/fail.sh",
            **queued,
        ),
        job(70250, "requeued", priority=4294901708, **queued),
        job(
            70251,
            "gpus",
            JobSpec(gpus="2", cpus_per_gpu=1, mem_per_gpu_mib=100),
            partition="gpu",
            time_limit_min=10,
            priority=4294901707,
            reason_desc="Nodes required for job are DOWN, DRAINED or reserved for jobs in higher "
            "priority partitions",
            **{**queued, "reason": "Resources"},
        ),
        job(
            70252,
            "excl",
            JobSpec(exclusive="", nodelist="n3"),
            partition="gpu",
            time_limit_min=1500,
            priority=4294901706,
            **{**queued, "reason": "PartitionTimeLimit", "last_sched_eval": t},
        ),
        job(70253, "susp", time_limit_min=10, priority=4294901705, **queued),
    ]


def batch(job_id: int, node: str, start: float, cpus: int, **facts: Any) -> Step:
    return Step(job_id, "batch", "batch", nodes=(node,), cpus=cpus, start_time=start, **facts)


def running_jobs() -> list[Job]:
    """golden/running: in the order of slurmctld's list: a waiting array's rest comes last of its kind."""
    t = 1795249744.0  # 08:29:04
    now = {
        "submit_time": t,
        "eligible_time": t,
        "accrue_time": t,
        "start_time": t,
        "last_sched_eval": t,
        "state": JobState.RUNNING,
    }
    steps = {
        "batch": batch(70538, "n1", t, 1),
        "0": Step(
            70538,
            "0",
            "hostname",
            JobState.COMPLETED,
            nodes=("n1",),
            cpus=1,
            distribution="Cyclic",
            start_time=t,
            end_time=t,
            submit_line="srun -N1 -n1 hostname",
            usage=Usage(system_s=0.001),
        ),
        "1": Step(
            70538,
            "1",
            "sleep",
            nodes=("n1", "n2"),
            ntasks=2,
            cpus=2,
            distribution="Cyclic",
            start_time=t,
            gres="gpu:h100:2",
            srun_host="vm",
            srun_pid=11679,
            submit_line="srun -n2 sleep 500",
        ),
    }
    first = job(
        70538,
        "steps",
        JobSpec(nodes_min=2, nodes_max=2, ntasks=2, mem_mib=10, gpus_per_node="h100:2"),
        time_limit_min=30,
        num_nodes=2,
        num_cpus=2,
        num_tasks=2,
        priority=4294901541,
        command=f"{HOME}/steps.sh",
        end_time=t + 1800,
        batch_host="n1",
        steps=steps,
        submit_line="sbatch --parsable -J steps -N2 -n2 --mem=10M -t 30 --gpus-per-node=h100:2 steps.sh",
        shares=[share("n1", [2], range(2)), share("n2", [0], range(2))],
        **now,
    )
    array = {
        "array_job_id": 70539,
        "array_max_running": 2,
        "num_cpus": 2,
        "priority": 4294901540,
        "command": f"{HOME}/arr.sh",
        "submit_line": "sbatch --parsable -J arr -a 3-8%2 -c2 arr.sh",
        "time_limit_min": INFINITE,
    }
    wide = JobSpec(cpus_per_task=2)
    return [
        first,
        job(
            70544,
            "arr",
            wide,
            array_task_id=3,
            shares=[share("n1", [3, 4])],
            batch_host="n1",
            steps={"batch": batch(70544, "n1", t, 2)},
            **array,
            **now,
        ),
        job(
            70540,
            "gpus",
            JobSpec(gpus="1"),
            partition="gpu",
            time_limit_min=10,
            comment="hello",
            priority=4294901539,
            end_time=t + 600,
            batch_host="n3",
            shares=[share("n3", [0], [0])],
            steps={"batch": batch(70540, "n3", t, 1)},
            submit_line="sbatch --parsable -J gpus --gpus=1 -p gpu -t 10 --comment=hello ok.sh",
            **now,
        ),
        job(
            70541,
            "excl",
            JobSpec(exclusive="", nodelist="n4", ntasks=3),
            partition="gpu",
            time_limit_min=1,
            priority=4294901538,
            end_time=t + 60,
            num_cpus=8,
            num_tasks=3,
            batch_host="n4",
            shares=[share("n4", range(8), range(4))],
            steps={"batch": batch(70541, "n4", t, 8)},
            submit_line="sbatch --parsable -J excl --exclusive -w n4 -p gpu -t 1 -n3 ok.sh",
            **now,
        ),
        job(
            70542,
            "susp",
            time_limit_min=10,
            end_time=t + 600,
            batch_host="n1",
            shares=[share("n1", [7])],
            suspend_time=t + 2,
            pre_suspend_s=2,
            steps={"batch": batch(70542, "n1", t, 1)},
            submit_line="sbatch --parsable -J susp -t 10 ok.sh",
            **{**now, "state": JobState.SUSPENDED},
        ),
        job(
            70543,
            "dep",
            JobSpec(dependency="afterok:70540,after:70538+5"),
            priority=4294901536,
            submit_time=t,
            last_sched_eval=t,
            reason="Dependency",
            dependency="afterok:70540,after:70538+5",
            dependency_shown="afterok:70540(unfulfilled),after:70538+5(unfulfilled)",
            submit_line="sbatch --parsable -J dep -d afterok:70540,after:70538+5 ok.sh",
        ),
        job(
            70545,
            "arr",
            wide,
            array_task_id=4,
            shares=[share("n1", [5, 6])],
            batch_host="n1",
            steps={"batch": batch(70545, "n1", t, 2)},
            **array,
            **now,
        ),
        job(
            70539,
            "arr",
            wide,
            pending_tasks=(range(5, 9),),
            reason="JobArrayTaskLimit",
            submit_time=t,
            accrue_time=t,
            last_sched_eval=t,
            **array,
        ),
    ]


def finished_jobs() -> list[Job]:
    """golden/finished: all but 70073, which failed, were cancelled by root, most before they started."""
    t = 1795249272.0  # 08:21:12
    end = t + 40
    over = {
        "submit_time": t,
        "state": JobState.CANCELLED,
        "cancelled_by": 0,
        "end_time": end,
        "last_sched_eval": t,
    }
    never = {**over, "start_time": end}
    held = {**never, "reason": "JobHeldUser"}
    ran = {
        **over,
        "start_time": t + 1,
        "eligible_time": t,
        "accrue_time": t,
        "last_sched_eval": t + 1,
        "exit_signal": 15,
    }
    queued = {**never, "eligible_time": t, "accrue_time": t}

    def step(
        job_id: int,
        step_id: str,
        name: str,
        nodes: tuple[str, ...],
        cpus: int,
        last: float = end,
        **facts: Any,
    ) -> Step:
        layout = "" if step_id == "batch" else "Cyclic"
        basics: dict[str, Any] = {"state": JobState.CANCELLED, "exit_signal": 15, "distribution": layout}
        return Step(
            job_id,
            step_id,
            name,
            nodes=nodes,
            cpus=cpus,
            start_time=t + 1,
            end_time=last,
            **{**basics, **facts},
        )

    def measured(
        user_s: float,
        system_s: float,
        tasks: int,
        rss: tuple[int, int],
        vmem: int,
        disk: tuple[int, int],
        node: str,
        task: int,
    ) -> Usage:
        return Usage(
            user_s=user_s,
            system_s=system_s,
            tasks=tasks,
            min_cpu_node=node,
            min_cpu_task=task,
            ave_rss=rss[0] * 1024,
            max_rss=rss[1] * 1024,
            max_rss_node=node,
            max_rss_task=task,
            ave_vmsize=vmem * 1024,
            max_vmsize=vmem * 1024,
            max_vmsize_node=node,
            max_vmsize_task=task,
            max_pages_node=node,
            max_pages_task=task,
            disk_read=disk[0] * tasks,
            max_disk_read=disk[0],
            max_disk_read_node=node,
            max_disk_read_task=task,
            disk_write=disk[1] * tasks,
            max_disk_write=disk[1],
            max_disk_write_node=node,
            max_disk_write_task=task,
        )

    done = {"state": JobState.COMPLETED, "exit_signal": 0, "last": t + 1}
    wrong = {"state": JobState.FAILED, "exit_signal": 0, "exit_code": 3, "last": t + 1}
    return [
        job(
            70065,
            "held_one",
            JobSpec(
                ntasks=3,
                cpus_per_task=2,
                mem_mib=100,
                time_limit_min=1590,
                gres="gpu:h100:1",
                nodelist="n1",
                exclude="n2",
                mail_type=("END",),
                mail_user="ada@example.org",
                constraint="",
            ),
            time_limit_min=1590,
            nice=7,
            comment="a comment",
            num_nodes=2,
            num_cpus=6,
            num_tasks=3,
            submit_line="sbatch --parsable -H -J held_one --comment=a comment --gres=gpu:h100:1 -n3 -c2 "
            "--mem=100M "
            "-t 1-02:30:00 --nice=7 -d singleton -w n1 -x n2 -C  --mail-type=END "
            "--mail-user=ada@example.org ok.sh",
            **held,
        ),
        job(
            70066,
            "heldarr",
            JobSpec(nodes_min=2, nodes_max=3, mem_per_cpu_mib=100),
            array_job_id=70066,
            pending_tasks=(range(1, 6),),
            array_max_running=2,
            num_nodes=2,
            max_nodes=3,
            num_tasks=2,
            submit_line="sbatch --parsable -H -J heldarr -a 1-5%2 -N2-3 --mem-per-cpu=100M ok.sh",
            **held,
        ),
        job(
            70067,
            "steps",
            JobSpec(nodes_min=2, nodes_max=2, ntasks=2, mem_mib=10),
            time_limit_min=30,
            num_nodes=2,
            num_cpus=2,
            num_tasks=2,
            priority=4294901754,
            command=f"{HOME}/steps.sh",
            batch_host="n1",
            shares=[share("n1", [0]), share("n2", [0])],
            derived_exit_signal=15,
            submit_line="sbatch --parsable -J steps -N2 -n2 --mem=10M -t 30 steps.sh",
            steps={
                "batch": step(
                    70067,
                    "batch",
                    "batch",
                    ("n1",),
                    1,
                    usage=measured(0.0115, 0.0035, 1, (13828, 13828), 290696, (63919, 3362), "n1", 0),
                ),
                "0": step(
                    70067,
                    "0",
                    "hostname",
                    ("n1",),
                    1,
                    **done,
                    usage=Usage(system_s=0.0027),
                    submit_line="srun -N1 -n1 hostname",
                ),
                "1": step(
                    70067,
                    "1",
                    "sleep",
                    ("n1", "n2"),
                    2,
                    ntasks=2,
                    submit_line="srun -n2 sleep 500",
                    usage=measured(0.0029, 0.0015, 2, (1610, 1648), 2920, (6977, 1), "n2", 1),
                ),
            },
            **ran,
        ),
        job(
            70068,
            "arr",
            JobSpec(exclude="n4", cpus_per_task=1, gres="gpu:1"),
            array_job_id=70068,
            pending_tasks=(range(4, 9),),
            array_max_running=1,
            priority=4294901753,
            command=f"{HOME}/arr.sh",
            time_limit_min=INFINITE,
            reason="JobArrayTaskLimit",
            submit_line="sbatch --parsable -J arr -a 3-8%1 --exclude=n4 -c1 --gres=gpu:1 -d  arr.sh",
            **{**never, "accrue_time": t + 1, "last_sched_eval": t + 1},
        ),
        job(
            70069,
            "het",
            JobSpec(ntasks=1, mem_mib=10),
            het_job_id=70069,
            het_ids=(70069, 70070),
            submit_line="sbatch --parsable -H -J het -n1 --mem=10 : -n2 --mem=20 ok.sh",
            **held,
        ),
        job(
            70070,
            "het",
            JobSpec(ntasks=2, mem_mib=20),
            het_job_id=70069,
            het_offset=1,
            het_ids=(70069, 70070),
            num_cpus=2,
            num_tasks=2,
            submit_line="sbatch --parsable -H -J het -n1 --mem=10 : -n2 --mem=20 ok.sh",
            **held,
        ),
        job(
            70071,
            "pend",
            JobSpec(nodes_min=4, nodes_max=4, exclusive=""),
            partition="debug,gpu",
            time_limit_min=300,
            num_nodes=4,
            num_cpus=4,
            num_tasks=4,
            priority=4294901752,
            submit_line="sbatch --parsable -J pend -N4 --exclusive -t 5:00:00 --begin=now+1hour "
            "-p debug,gpu ok.sh",
            reason="BeginTime",
            **{**never, "eligible_time": t + 3600, "accrue_time": t + 3600},
        ),
        job(
            70072,
            "dep",
            priority=4294901751,
            reason="Dependency",
            argv=("a1", "b 2"),
            dependency_shown="afterok:70067(unfulfilled)",
            stdout=f"{HOME}/out-%j-%x-%A_%a.txt",
            stderr=f"{HOME}/err.%N",
            submit_line="sbatch --parsable -J dep -d afterok:70067 -o out-%j-%x-%A_%a.txt "
            "-e err.%N ok.sh a1 b 2",
            **never,
        ),
        job(
            70073,
            "failed",
            JobSpec(ntasks=2),
            num_cpus=2,
            num_tasks=2,
            priority=4294901750,
            command=f"{HOME}/fail.sh",
            reason="NonZeroExitCode",
            state=JobState.FAILED,
            exit_code=3,
            derived_exit_code=3,
            submit_time=t,
            eligible_time=t,
            accrue_time=t,
            start_time=t + 1,
            end_time=t + 1,
            last_sched_eval=t + 1,
            time_limit_min=INFINITE,
            batch_host="n1",
            shares=[share("n1", [2, 3])],
            submit_line="sbatch --parsable -J failed -n2 fail.sh",
            steps={
                "batch": step(70073, "batch", "batch", ("n1",), 2, **wrong, usage=Usage(0.0195, 0.0055)),
                "0": step(
                    70073,
                    "0",
                    "true",
                    ("n1",),
                    2,
                    **done,
                    usage=Usage(0.0, 0.0025),
                    submit_line="srun -n1 true",
                ),
                "1": step(
                    70073,
                    "1",
                    "bash",
                    ("n1",),
                    2,
                    **wrong,
                    usage=Usage(0.0025, 0.0),
                    submit_line="srun -n1 bash -c exit 3",
                ),
            },
        ),
        job(
            70074,
            "tocancel",
            time_limit_min=10,
            priority=4294901749,
            batch_host="n1",
            shares=[share("n1", [4])],
            submit_line="sbatch --parsable -J tocancel -t 10 ok.sh",
            steps={"batch": step(70074, "batch", "batch", ("n1",), 1, t + 4, usage=Usage(0.0, 0.0025))},
            **{**ran, "end_time": t + 4},
        ),
        job(
            70075,
            "pendcancel",
            submit_line="sbatch --parsable -H -J pendcancel ok.sh",
            **{**held, "start_time": t + 4, "end_time": t + 4},
        ),
        job(
            70077,
            "gpus",
            JobSpec(gpus="2", cpus_per_gpu=1),
            partition="gpu",
            time_limit_min=INFINITE,
            priority=4294901747,
            reason="PartitionTimeLimit",
            submit_line="sbatch --parsable -J gpus --gpus=2 --cpus-per-gpu=1 -p gpu -t 0 ok.sh",
            **queued,
        ),
        job(
            70078,
            "arr",
            JobSpec(exclude="n4", cpus_per_task=1, gres="gpu:1"),
            array_job_id=70068,
            array_task_id=3,
            array_max_running=1,
            priority=4294901753,
            command=f"{HOME}/arr.sh",
            time_limit_min=INFINITE,
            batch_host="n1",
            shares=[share("n1", [5])],
            submit_line="sbatch --parsable -J arr -a 3-8%1 --exclude=n4 -c1 --gres=gpu:1 -d  arr.sh",
            steps={
                "batch": step(
                    70078,
                    "batch",
                    "batch",
                    ("n1",),
                    1,
                    usage=measured(0.0035, 0.0015, 1, (4460, 4460), 7280, (14851, 1), "n1", 0),
                )
            },
            **{**ran, "eligible_time": t + 1, "accrue_time": t + 1},
        ),
        job(
            70076,
            "requeued",
            priority=4294901748,
            reason="BeginTime",
            restarts=1,
            submit_line="sbatch --parsable -J requeued ok.sh",
            **{
                **never,
                "submit_time": t + 4,
                "eligible_time": t + 125,
                "accrue_time": t + 125,
                "last_sched_eval": t + 1,
            },
        ),
    ]


def running_nodes() -> list[Node]:
    """The nodes of golden/running, while another user's job held two more CPUs of n1."""
    use = {"n1": (7, (0, 1)), "n2": (1, (0, 1)), "n3": (1, (0,)), "n4": (8, (0, 1, 2, 3))}
    busy = {"n1": 1795249739.0, "n2": 1795249736.0}
    return [
        Node(
            config,
            NodeState.ALLOCATED if use[config.name][0] == 8 else NodeState.MIXED,
            alloc_cpus=use[config.name][0],
            alloc_gres={"gpu:h100": len(use[config.name][1])},
            alloc_gres_ids={"gpu:h100": use[config.name][1]},
            load=0.62,
            free_mib=20126,
            boot_time=1795248221.0,
            agent_start_time=1795248339.0,
            version="22.05.8",
            last_busy_time=busy.get(config.name, 0.0),
            partitions=("debug", "gpu") if config.name in ("n3", "n4") else ("debug",),
        )
        for config in NODES
    ]


@pytest.fixture(scope="session")
def waiting() -> list[Job]:
    return waiting_jobs()


@pytest.fixture(scope="session")
def running() -> list[Job]:
    return running_jobs()


@pytest.fixture(scope="session")
def finished() -> list[Job]:
    return finished_jobs()


@pytest.fixture(scope="session")
def nodes() -> list[Node]:
    return running_nodes()


@pytest.fixture(scope="session")
def golden() -> type[Golden]:
    return Golden
