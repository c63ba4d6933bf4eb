"""Driver in HyperQueue's virtual environment: reads task counts from stdin, prints the seconds of each run."""

import sys
import tempfile
import time

from hyperqueue import Job, LocalCluster  # type: ignore[import-not-found]
from hyperqueue.cluster import WorkerConfig  # type: ignore[import-not-found]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slurmsky-hq-") as folder, LocalCluster(folder) as cluster:
        cluster.start_worker(WorkerConfig())  # uses all cores
        client = cluster.client()
        for line in sys.stdin:
            started = time.perf_counter()
            job = Job(default_workdir=folder)
            for _ in range(int(line)):
                job.program(["true"], stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])
            print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
