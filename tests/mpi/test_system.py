"""The distribution's MPIs (Debian's mpich and openmpi-bin), if they and their compilers are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from local_engine import LocalEngine
from polling import PATIENCE_S

PROGRAM = Path(__file__).parent / "programs" / "hello.c"
_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    # More tasks than cores: those that wait must let the others run.
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    # Open MPI names shared memory by host and job; virtual nodes of one host would share it.
    "OMPI_MCA_btl": "self,tcp",
}
COMMANDS = [
    ("mpich", "srun --mpi=pmi2 -N2 -n4 --ntasks-per-node=2 {program}"),
    ("mpich", "salloc -Q -N2 --ntasks-per-node=2 mpirun.mpich {program}"),
    ("openmpi", "srun --mpi=pmix -N2 -n4 --ntasks-per-node=2 {program}"),
    ("openmpi", "salloc -Q -N2 --ntasks-per-node=2 mpirun.openmpi --bind-to none {program}"),
]


@pytest.mark.parametrize(("mpi", "command"), COMMANDS, ids=[f"{mpi}-{line.split()[0]}" for mpi, line in COMMANDS])
def test_two_nodes_and_two_tasks_each(engine: LocalEngine, tmp_path: Path, mpi: str, command: str) -> None:
    """Ranks meet: an allreduce, a large broadcast, and a communicator of each node."""
    compiler = shutil.which("mpicc." + mpi)
    if compiler is None:
        pytest.skip(f"needs the packages of {mpi} with its compiler (apt-get install mpich openmpi-bin libopenmpi-dev)")
    program = tmp_path / "hello"
    subprocess.run([compiler, PROGRAM, "-o", program], check=True)
    done = engine.run(command.format(program=program), env=_ENVIRONMENT, limit_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"{rank} 4 1 2" for rank in range(4)]
