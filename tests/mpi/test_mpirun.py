"""mpirun of Open MPI and MPICH finds the allocation and starts through our srun."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_engine import LocalEngine
from polling import PATIENCE_S

pytestmark = pytest.mark.mpi
PROGRAMS = Path(__file__).parent / "programs"
#: Open MPI's mpirun starts nothing for root without both; waiting tasks that spin would take the CPUs of all others
_ROOT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}
#: a virtual node has more CPUs than this machine may have cores, which Open MPI would bind to
_UNBOUND = {"openmpi": "--bind-to none", "mpich": ""}


@pytest.mark.parametrize("shape", ["-N2 --ntasks-per-node=2", "-N4 -n8 --ntasks-per-node=2"])
@pytest.mark.parametrize(("mpi", "start"), [("openmpi", "mpirun"), ("mpich", "mpiexec")])
def test_all_tasks_of_the_allocation(
    engine: LocalEngine, request: pytest.FixtureRequest, mpi: str, start: str, shape: str
) -> None:
    folder: Path = request.getfixturevalue(mpi)
    size = 8 if "-n8" in shape else 4
    script = (
        f'set -e; PATH={folder}:$PATH; {start} {_UNBOUND[mpi]} python {PROGRAMS}/check.py; '
        'sleep 1; sacct -n -P -j "$SLURM_JOB_ID" -o JobID,State,NNodes,NTasks'
    )  # fmt: skip
    done = engine.run(["salloc", *shape.split(), "bash", "-c", script], env=_ROOT, limit_s=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    *rows, _job, step = [line for line in done.stdout.splitlines() if ".extern" not in line]
    assert sorted(tuple(map(int, row.split()))[:2] for row in rows) == [(rank, size) for rank in range(size)]
    nodes = size // 2
    assert step.split("|")[1:] == ["COMPLETED", str(nodes), str(nodes)]


@pytest.mark.parametrize(("mpi", "start"), [("openmpi", "mpirun"), ("mpich", "mpiexec")])
def test_a_bad_exit_is_reported(engine: LocalEngine, request: pytest.FixtureRequest, mpi: str, start: str) -> None:
    folder: Path = request.getfixturevalue(mpi)
    script = f"PATH={folder}:$PATH; {start} {_UNBOUND[mpi]} python {PROGRAMS}/check.py 7"
    done = engine.run(["salloc", "-N2", "--ntasks-per-node=2", "bash", "-c", script], env=_ROOT, limit_s=PATIENCE_S)
    assert done.returncode == 7, done.stderr
