"""Checks MPI functions that programs use; prints one line per rank. Exits 1 (by assert) on an error."""

import sys

from mpi4py import MPI

SIZE_MIB = 4

world = MPI.COMM_WORLD
rank, size = world.rank, world.size
assert world.allreduce(rank) == size * (size - 1) // 2
assert world.bcast([rank, "text"], root=size - 1) == [size - 1, "text"]
assert world.allgather(rank) == list(range(size))

halves = world.Split(color=rank % 2, key=-rank)  # reversed order in each half
assert halves.size == (size + 1 - rank % 2) // 2
assert halves.allreduce(1) == halves.size
assert halves.allgather(rank) == sorted(range(rank % 2, size, 2), reverse=True)

group = world.group.Incl(list(range(0, size, 2)))
evens = world.Create(group)
if rank % 2 == 0:
    assert evens.allreduce(rank) == sum(range(0, size, 2))
    evens.Free()

# Several megabytes round the ring, between nodes as well as within them.
data = bytearray([rank % 251]) * (SIZE_MIB << 20)
received = bytearray(len(data))
world.Sendrecv(data, (rank + 1) % size, 0, received, (rank - 1) % size, 0)
assert received == bytearray([(rank - 1) % size % 251]) * len(received)

shared = world.Split_type(MPI.COMM_TYPE_SHARED)
world.barrier()
print(rank, size, shared.size, flush=True)
world.barrier()
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 and rank == size - 1 else 0)
