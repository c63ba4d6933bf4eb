"""golden/running: the jobs, and the nodes."""

from __future__ import annotations

from slurmsky.model.job import Job, Node, Step, Usage
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobState, NodeState

from . import HOME, NODES, batch, job, share


def running_jobs() -> list[Job]:
    """golden/running, in the order of slurmctld's list: a waiting array's rest is last of its kind."""
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
