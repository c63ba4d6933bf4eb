"""dask-jobqueue: workers as jobs, scaled up and down; and SLURMRunner, where one srun is the whole cluster."""

import os
import subprocess
import sys
from pathlib import Path

from common import reach, state, wait


def job_of(_: int) -> str:
    return os.environ["SLURM_JOB_ID"]


def main() -> None:
    from dask.distributed import Client
    from dask_jobqueue import SLURMCluster

    with SLURMCluster(cores=1, processes=1, memory="400MB", walltime="00:10:00", job_name="dw", log_directory="logs",
                      scheduler_options={"dashboard_address": None}, worker_extra_args=["--no-dashboard"],
                      ) as cluster:  # fmt: skip
        cluster.scale(jobs=2)
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=180)
            jobs = {worker.job_id for worker in cluster.workers.values()}
            assert set(client.gather(client.map(job_of, range(40)))) <= jobs
            assert client.submit(sum, range(100)).result() == 4950
            assert {f"dw-{job}.err" for job in jobs} <= set(os.listdir("logs")), os.listdir("logs")
            cluster.scale(jobs=1)
            wait("one worker", lambda: len(client.scheduler_info()["workers"]) == 1)
    for job in jobs:
        wait(f"the end of {job}", lambda: state(job) in ("CANCELLED", "COMPLETED"))  # noqa: B023

    line = f"srun {sys.executable} -B {__file__} inside"
    Path("runner.sh").write_text(f"#!/bin/bash\n#SBATCH -n 4 -o runner.out\n{line}\n")
    line = ["sbatch", "--parsable", "runner.sh"]
    job = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    reach(job, "COMPLETED")
    assert "total 4950" in Path("runner.out").read_text()


def inside() -> None:
    from dask.distributed import Client
    from dask_jobqueue.slurm import SLURMRunner

    with SLURMRunner(scheduler_file="scheduler-{job_id}.json", scheduler_options={"dashboard_address": None},
                     worker_options={"dashboard_address": None}) as runner, Client(runner) as client:  # fmt: skip
        client.wait_for_workers(runner.n_workers, timeout=180)
        print("total", client.submit(sum, range(100)).result(), flush=True)


if __name__ == "__main__":
    inside() if sys.argv[1:] == ["inside"] else main()
