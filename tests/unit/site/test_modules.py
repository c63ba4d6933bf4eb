"""Module names: their meaning, and the `module` command of jobs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from polling import PATIENCE_S
from tables import every

from slurmsky.site import load
from slurmsky.site.modules import find, names, shipped
from slurmsky.translate.sky_task.module_command import job_variables, listing

SITE = load(
    """
[modules]
"cuda/12.1" = "docker:team/cuda:12"
"torch/*" = "docker:team/torch:1"
[modules.solver]
setup = "make solver"
environment = { SOLVER_HOME = "/opt/the solver" }
""",
    "site.toml",
)
EMPTY = load("", "none")

#: the hundred most used names of 1,887 public batch scripts (without version), counted in November 2026
_NAMES = """
gcc openmpi python intel anaconda3 cuda R rocm matlab pytorch Python GCC CUDA OpenMPI nvhpc mpt PrgEnv-amd conda
rhel7 cuDNN lumi-aif-singularity-bindings PrgEnv-gnu gaussian tools craype-accel-amd-gfx90a git-lfs mkl DefApps
cudnn vis intel-mpi plexos slurm fftw scicomp-python-env impi xpressmp toolchain lang shared cudatoolkit r julia mpi
singularity-CPEbits singularity-userfilesystems samtools htslib Anaconda3 vasp cray-hdf5-parallel
singularity-AI-bindings hdf5 comp-intel swenv anaconda LUMI partition lumi-CPEtools mono centos stata
cray-netcdf-hdf5parallel bcftools miniforge3 tensorflow PrgEnv-cray lammps gsl jdk nccl mathematica dmtcp
epcc-job-env intel-20.4 specfem3d miniforge cray-mpich cmake openblas python-env OpenFOAM comsol apptainer math
netcdf-fortran intel-mkl cp2k cray-fftw cray-python git cpe nvidia-cntk singularity-detectron suitesparse lpsolve
augustus boost bamtools minimap2
"""
MOST_USED = _NAMES.split()


#: names of a category or of one program of a cluster: an alias for "nothing is needed" would hide a decision
UNDECIDED = {"nvidia-cntk", "specfem3d"}


@every("name", [name for name in MOST_USED if name not in UNDECIDED])
def test_the_shipped_map_has_common_modules(name: str) -> None:
    module = find(EMPTY, name)
    assert module is not None
    assert module.image or module.setup or module.note


@pytest.mark.parametrize("name", sorted(UNDECIDED))
def test_rare_programs_are_left_to_the_user(name: str) -> None:
    assert find(EMPTY, name) is None


def test_a_hundred_module_names() -> None:
    assert len(MOST_USED) == len(set(MOST_USED)) == 100


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("cuda/12.1", "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"),
        ("CUDA/12.1.0", "docker:nvidia/cuda:12.1.1-cudnn8-runtime-ubuntu22.04"),
        ("cuda/11.8.0-gcc-12", "docker:nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04"),
        ("cuda", "docker:nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04"),
        ("cuda/12.99", "docker:nvidia/cuda:12.4.1-cudnn-runtime-ubuntu22.04"),
        ("pytorch/2.1.0", "docker:pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime"),
        ("gcc/12.2.0", ""),
    ],
)
def test_images_by_version(name: str, image: str) -> None:
    module = find(EMPTY, name)
    assert module is not None and module.image == image


@pytest.mark.parametrize(
    ("name", "source", "image"),
    [
        ("cuda/12.1", "site", "docker:team/cuda:12"),
        ("cuda/12.2", "shipped", "docker:nvidia/cuda:12.2.2-cudnn8-runtime-ubuntu22.04"),
        ("torch/9", "site", "docker:team/torch:1"),
        ("solver/1", "site", ""),
    ],
)
def test_the_site_comes_first(name: str, source: str, image: str) -> None:
    module = find(SITE, name)
    assert module is not None and (module.source, module.image) == (source, image)


def test_unknown_names_are_unknown() -> None:
    assert find(SITE, "nosuch/1") is None
    assert find(SITE, "") is None


def test_versions_become_conda_pins() -> None:
    module = find(EMPTY, "samtools/1.17.2")
    assert module is not None and module.setup.endswith("bioconda samtools=1.17")


def test_a_name_has_one_meaning() -> None:
    listed = [name.lower() for row in {id(row): row for row in shipped().values()}.values() for name in row["names"]]
    assert len({*listed}) == len({*map(str.lower, names(EMPTY))})
    for name in set(listed):
        rows = {id(shipped()[other]) for other in listed if other == name}
        assert len(rows) == 1


# --- module in a job


def job(script: str, site: object = SITE, shell: str = "bash", **env: str) -> subprocess.CompletedProcess[str]:
    text = f"#!/bin/{shell}\n{script}\n"
    base = {"PATH": "/usr/bin:/bin", **env}
    added = job_variables(site, text.encode(), base)  # type: ignore[arg-type]
    if "BASH_FUNC_module%%" in added and (Path("/usr/share/modules").exists() or Path("/usr/share/lmod").exists()):
        pytest.skip("this machine has a module system of its own")
    return subprocess.run(
        [shell, "-c", script], env={**base, **added}, capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.mark.parametrize(
    ("script", "out"),
    [
        ("module load gcc/12.2.0 openmpi; echo $LOADEDMODULES", "gcc/12.2.0:openmpi"),
        ("module add gcc; module load gcc; echo $LOADEDMODULES", "gcc"),
        ("module load gcc/11 gcc/12; echo $LOADEDMODULES", "gcc/12"),
        ("module load gcc mkl fftw; module unload mkl; echo $LOADEDMODULES", "gcc:fftw"),
        ("module load gcc; module swap gcc intel; echo $LOADEDMODULES", "intel"),
        ("module load gcc; module purge; echo [$LOADEDMODULES]", "[]"),
        ("module load gcc; module reset; echo [$LOADEDMODULES]", "[]"),
        ("ml gcc -gcc mkl; echo $LOADEDMODULES", "mkl"),
        ("ml load GCC/12; echo $LOADEDMODULES", "GCC/12"),
        ("module load solver; echo $SOLVER_HOME", "/opt/the solver"),
        ("module load torch/7; echo $LOADEDMODULES", "torch/7"),
        ("module use /a; module use /b; echo $MODULEPATH", "/b:/a"),
        ("module load gcc/12; module is-loaded gcc && echo yes; module is-loaded mkl || echo no", "yes\nno"),
        ("set -eu; module load nosuch/1; echo on", "on"),
        ("set -e; module --ignore-cache load gcc; echo $LOADEDMODULES", "gcc"),
        ("module try-load nosuch; echo $?", "0"),
        ("(module load gcc; echo $LOADEDMODULES); echo [$LOADEDMODULES]", "gcc\n[]"),
        ("module load gcc; bash -c 'module load mkl; echo $LOADEDMODULES'", "gcc:mkl"),
        ("module nonsense; echo $?", "1"),
        ("module save x; echo $?", "0"),
    ],
)
def test_module_in_a_job(script: str, out: str) -> None:
    done = job(script)
    assert done.stdout == out + "\n", done.stderr


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_ibrun_calls_srun(tmp_path: Path, shell: str) -> None:
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "[%s]" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    done = job("ibrun ./a 1; ibrun -n 2 -o 4 task_affinity ./b", shell=shell, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout == "[./a][1][--exact][-n][2][./b]", done.stderr


@pytest.mark.parametrize(
    ("script", "reported"),
    [
        ("module list", "No modules loaded\n"),
        ("module load gcc mkl; module list", "Currently Loaded Modules:\n  gcc\n  mkl\n"),
        ("module avail solver", "solver\n"),
        ("module show cuda/12.1", "cuda/12.1: docker:team/cuda:12\n"),
        (
            "module load nosuch/1; module load nosuch/1 nosuch/1",
            "slurmsky: module nosuch/1 is not known here: nothing was loaded "
            "([modules] of the site file can say what it is)\n",
        ),
        ("module frob", "module: unknown command frob\n"),
    ],
)
def test_the_output_of_module(script: str, reported: str) -> None:
    assert job(script).stderr == reported


def test_a_site_may_make_unknown_modules_fatal() -> None:
    strict = load('[environment]\nSLURMSKY_UNKNOWN_MODULES = "error"\n', "strict")
    done = job("set -e; module load nosuch; echo on", strict)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize("shell", ["sh", "zsh", "tcsh"])
def test_other_shells_are_reported(shell: str) -> None:
    if not shutil.which(shell, path="/usr/bin:/bin"):
        pytest.skip(f"no {shell} here")
    done = job("module load gcc && echo on", shell=shell, SLURM_JOB_ID=f"test-{shell}-{id(shell)}")
    assert done.stdout == "on\n"
    assert shell == "sh" or "changes nothing in this shell" in done.stderr


@pytest.mark.parametrize(
    "script", ["python train.py", "./module load", "# module", "cat /x/module.txt", "--module=3", "echo xml load"]
)
def test_other_scripts_keep_their_environment(script: str) -> None:
    assert job_variables(SITE, b"#!/bin/bash\n" + script.encode() + b"\n", {"PATH": "/bin"}) == {}


def test_a_shell_with_modules_of_its_own_keeps_them() -> None:
    env = {"BASH_FUNC_module%%": "() { :; }", "LMOD_CMD": "/lmod"}
    assert job_variables(SITE, b"#!/bin/bash\nmodule load gcc\n", env) == {}


def test_the_listing_is_lines_of_fields() -> None:
    rows = dict(line.split("|", 1) for line in listing(SITE).splitlines())
    assert rows["solver"] == "make solver|SOLVER_HOME=/opt/the solver"
    assert all("\n" not in value for value in rows.values())


def test_a_large_map_of_the_site_leaves_room_for_the_job_to_start() -> None:
    rows = "".join(f'[modules."app{number}"]\nsetup = "echo {"x" * 100}"\n' for number in range(300))
    done = job("module load app299 && echo $LOADEDMODULES", load(rows, "site.toml"))
    assert done.stdout == "app299\n", done.stderr


def test_what_setup_installed_comes_first_in_path_on_a_node_of_skypilots(tmp_path: Path) -> None:
    programs = tmp_path / ".conda" / "envs" / "job" / "bin"
    programs.mkdir(parents=True)
    script = "module load lang/Python/3.11 gcc; echo ${PATH%%:*}"
    assert job(script, EMPTY, HOME=str(tmp_path), SKYPILOT_NODE_RANK="0").stdout == f"{programs}\n"
    assert job(script, EMPTY, HOME=str(tmp_path)).stdout == "/usr/bin\n"  # this machine's own Python stays
    setup = find(EMPTY, "python/3.11")
    assert setup is not None and f"-p {setup.path.removesuffix('/bin')} " in setup.setup


def test_a_load_sets_the_variables_whose_places_exist(tmp_path: Path) -> None:
    for name in ("2.9-0", "3.1-0"):
        jar = tmp_path / "miniconda3" / "share" / f"picard-{name}" / "picard.jar"
        jar.parent.mkdir(parents=True)
        jar.touch()
    script = "set -eu; module load bio/picard/3.1 miniconda3 java; echo $PICARD $EBROOTPICARD $ANACONDA_HOME"
    first = f"{tmp_path}/miniconda3/share/picard-2.9-0"
    done = job(script, EMPTY, HOME=str(tmp_path))
    assert done.stdout == f"{first}/picard.jar {first} {tmp_path}/miniconda3\n", done.stderr
    none = job("set -e; module load picard; echo [$PICARD] $LOADEDMODULES", EMPTY, HOME="/nonexistent")
    assert none.stdout == "[] picard\n", none.stderr
