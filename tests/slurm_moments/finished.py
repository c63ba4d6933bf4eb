"""golden/finished: the jobs."""

from __future__ import annotations

from typing import Any

from slurmsky.model.job import Job, Step, Usage
from slurmsky.model.spec import INFINITE, JobSpec
from slurmsky.model.states import JobState

from . import HOME, job, share


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
