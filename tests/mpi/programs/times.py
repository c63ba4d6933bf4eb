"""Seconds of MPI_Init on the slowest rank, printed by rank 0."""

import time

start = time.monotonic()
from mpi4py import MPI  # noqa: E402

took = MPI.COMM_WORLD.reduce(time.monotonic() - start, op=MPI.MAX)
if MPI.COMM_WORLD.rank == 0:
    print(f"{took:.3f}", flush=True)
