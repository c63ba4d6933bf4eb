"""The run block of exported YAML: mpirun and its relatives."""

from __future__ import annotations

import pytest
from yaml_exports import NONE, TWO, export, script

from slurmsky.site import load


def test_mpirun_gets_the_nodes() -> None:
    found = export(script("mpirun ./a.out", "-N2 --ntasks-per-node=4"))
    assert "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:4/' | paste -sd, -) -np 8 ./a.out" in found.fields["run"]


def test_one_mpi_program_on_several_nodes_is_not_several_programs() -> None:
    assert "mpirun -np 2 -H" in export(script("srun ./xhpl", TWO)).fields["run"]
    assert not export(script("srun python train.py", TWO)).needs


@pytest.mark.parametrize("body", ["valgrind mpirun -n 2 ./a.out", "mpirun -n 2 ./a.out"])
def test_mpirun_is_installed_also_below_another_program(body: str) -> None:
    assert "openmpi-bin" in export(script(body, "-n2")).fields["setup"]


@pytest.mark.parametrize(
    ("line", "hosts"),
    [
        ("mpirun ./a.out", "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:4/' | paste -sd, -) -np 8 ./a.out"),
        ("mpirun -n 16 ./a.out", "-H $(echo \"$SKYPILOT_NODE_IPS\" | sed 's/$/:8/' | paste -sd, -) -n 16 ./a.out"),
        ("mpirun -ppn 4 ./a.out", '-hosts $(echo "$SKYPILOT_NODE_IPS" | paste -sd, -) -np 8 -ppn 4 ./a.out'),
        ("module load impi\nmpirun ./a", '-hosts $(echo "$SKYPILOT_NODE_IPS" | paste -sd, -) -ppn 4 -np 8 ./a'),
    ],
)
def test_mpirun_gets_the_nodes_in_its_own_spelling(line: str, hosts: str) -> None:
    found = export(script(line, "-N2 --ntasks-per-node=4"), site=load("", "none"))
    assert f"mpirun {hosts}" in found.fields["run"]
    assert ("raise cpus" in found.yaml) == ("-n 16" in line)


@pytest.mark.parametrize(
    ("options", "run"),
    [
        ("-n1", "mpirun -np 1 ./a\n"),
        ("-n4", "mpirun --use-hwthread-cpus -np 4 ./a\n"),
        ("-N1;--exclusive", "mpirun ./a\n"),
    ],
)
def test_mpirun_starts_as_many_ranks_as_under_slurm(options: str, run: str) -> None:
    assert export(script("mpirun ./a", options)).fields["run"] == run


def test_intel_mpi_starts_as_many_ranks_as_under_slurm() -> None:
    found = export(script("module load impi\nmpirun ./a", "-n4"), site=load("", "none"))
    assert found.fields["run"] == "mpirun -np 4 ./a\n"


def test_intels_image_is_not_chosen_beside_another_mpi() -> None:
    found = export(script("module load intel openmpi\nmpirun ./a", "-n4"), site=NONE)
    assert "image_id" not in found.fields["resources"] and "build the program with gcc" in found.yaml
    assert found.fields["run"] == "mpirun --use-hwthread-cpus -np 4 ./a\n"


def test_the_launcher_of_tacc_is_mpirun() -> None:
    found = export(script("ibrun ./a.out in.txt", "-n 32"))
    assert found.fields["run"] == "mpirun --use-hwthread-cpus -np 32 ./a.out in.txt\n"
    assert "openmpi-bin" in found.fields["setup"]
    assert export(script("ibrun -n 4 -o 0 ./a.out", "-n 8")).needs


def test_programs_of_mpich_start_with_its_own_mpirun() -> None:
    found = export(script("module load mpich/4.0\nsrun ./solver", "-N2 --ntasks-per-node=4"))
    assert "install -y mpich libmpich-dev" in found.fields["setup"]
    assert "mpirun -np 8 -ppn 4 -hosts " in found.fields["run"]
    mixed = export(script("module load mpich openmpi\nmpirun -n 4 ./solver", "-n4"))
    assert "openmpi" not in mixed.fields["setup"]
