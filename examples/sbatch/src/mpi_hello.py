"""One line from each rank: MPI's, where srun offers a PMI to mpi4py, else srun's own."""

import os

if "PMI_RANK" in os.environ or "PMIX_RANK" in os.environ:
    from mpi4py import MPI

    rank, size = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()
else:
    rank, size = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
print(f"rank {rank} of {size} on {os.environ['SLURMD_NODENAME']}")
