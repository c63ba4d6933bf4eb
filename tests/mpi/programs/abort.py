"""Task 1 aborts while the others wait for it."""

from mpi4py import MPI

MPI.COMM_WORLD.barrier()
if MPI.COMM_WORLD.rank == 1:
    MPI.COMM_WORLD.Abort(3)
MPI.COMM_WORLD.recv(source=1)
