"""submitit: a call, tasks on two nodes, an array, a failure, a cancel, and a checkpoint with requeue."""

import os
import sys
import time
from pathlib import Path

import cloudpickle
import submitit
from common import reach, state, wait
from submitit.core.utils import FailedJobError, UncompletedJobError

# The workers import nothing of this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def place() -> tuple[object, ...]:
    here = submitit.JobEnvironment()
    return here.global_rank, here.local_rank, here.node, here.num_tasks, here.num_nodes, len(here.hostnames)


def fail() -> None:
    raise KeyError("wanted")


class Life:
    """Checkpoints itself when its first run is stopped, for a second run."""

    def __init__(self, diary: str, number: int = 1) -> None:
        self.diary = diary
        self.number = number

    def __call__(self) -> int:
        with open(self.diary, "a") as file:
            file.write(f"{self.number}\n")
        if self.number == 1:
            time.sleep(300)
        return self.number

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(Life(self.diary, self.number + 1))


def executor(**more: object) -> submitit.AutoExecutor:
    made = submitit.AutoExecutor(folder="log/%j", cluster="slurm")
    made.update_parameters(timeout_min=10, slurm_mem="100M", **more)
    return made


def over(job: submitit.Job) -> submitit.Job:
    wait(f"{job.job_id} to end", lambda: job.done(force_check=True))
    return job


one = over(executor().submit(pow, 2, 10))
assert one.result() == 1024
reach(one.job_id, "COMPLETED")
assert "completed successfully" in (one.stdout() or "") + (one.stderr() or "")

wide = over(executor(nodes=2, tasks_per_node=2).submit(place))
assert wide.results() == [(0, 0, 0, 4, 2, 2), (1, 1, 0, 4, 2, 2), (2, 0, 1, 4, 2, 2), (3, 1, 1, 4, 2, 2)]

elements = executor(slurm_array_parallelism=2).map_array(abs, [-1, -2, -3])
assert [over(element).result() for element in elements] == [1, 2, 3]
assert [element.job_id.partition("_")[2] for element in elements] == ["0", "1", "2"]

bad = over(executor().submit(fail))
try:
    bad.result()
    raise SystemExit("a failure was lost")
except FailedJobError as error:
    assert "wanted" in str(error)
reach(bad.job_id, "FAILED")

slow = executor().submit(time.sleep, 300)
reach(slow.job_id, "RUNNING")
slow.cancel()
reach(slow.job_id, "CANCELLED")
try:
    slow.result()
    raise SystemExit("a cancelled job had a result")
except UncompletedJobError:
    print("cancelled")

diary = Path(os.getcwd(), "diary")
lives = executor().submit(Life(str(diary)))
wait("the first life", diary.exists)
time.sleep(1)
lives._interrupt(timeout=False)
assert over(lives).result() == 2, state(lives.job_id)
assert diary.read_text() == "1\n2\n"
