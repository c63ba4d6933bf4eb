"""simple_slurm: a script from a here-document, an array, a dependency, its squeue, a cancel."""

import subprocess
from pathlib import Path

from common import reach
from simple_slurm import Slurm

first = Slurm(job_name="first", output="first.out", time="0-00:05:00", cpus_per_task=2)
first.add_cmd("echo", "cpus", Slurm.SLURM_CPUS_PER_TASK)
one = first.sbatch("echo last", verbose=False)
assert isinstance(one, int), one
after = Slurm(output="after.out", dependency={"afterok": one}, parsable="")
two = after.sbatch("echo after", verbose=False)
reach(two, "COMPLETED")
assert Path("first.out").read_text() == "cpus 2\nlast\n"
assert Path("after.out").read_text() == "after\n"

many = Slurm(array=range(3, 9, 3), output=f"many-{Slurm.JOB_ARRAY_ID}.out")
base = Slurm(array=[3, 6], output="element-%a.out").sbatch(
    "echo $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT", verbose=False
)
reach(f"{base}_3", "COMPLETED")
reach(f"{base}_6", "COMPLETED")
assert [Path(f"element-{index}.out").read_text() for index in (3, 6)] == ["3 of 2\n", "6 of 2\n"]
assert "--array" in str(many)

slow = Slurm(job_name="slow", output="slow.out").sbatch("sleep 300", verbose=False)
reach(slow, "RUNNING")
queue = Slurm().squeue
queue.update_squeue()
shown = queue.get_filtered_jobs("slow")[slow]
assert (shown["NAME"], shown["ST"], shown["NODES"], shown["CPUS"]) == ("slow", "R", "1", "1"), shown
Slurm().scancel.cancel_job(slow)
reach(slow, "CANCELLED")

try:
    Slurm(ntasks=2, output="step.out").srun("sh -c 'exit $((SLURM_PROCID * 3))'")
    raise SystemExit("an exit code was lost")
except subprocess.CalledProcessError as error:
    assert error.returncode == 3, error
