"""One line from each rank. With mpi4py the ranks are MPI's; without it, srun's."""

import os

try:
    from mpi4py import MPI
except ImportError:
    rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
else:
    rank, size = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
print(f"rank {rank} of {size} on {os.environ['SLURMD_NODENAME']}")
