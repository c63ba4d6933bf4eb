"""The setup block of exported YAML: packages, modules and environments."""

from __future__ import annotations

from pathlib import Path

import pytest
from moving_script import moving
from yaml_exports import NONE, SITE, TWO, export, script

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import SubmittedScript, export_yaml


@pytest.mark.parametrize(
    ("body", "setup"),
    [
        ("pip install -r requirements.txt\npython a.py", "pip install -r requirements.txt"),
        ("python -m pip install x", "python -m pip install x"),
        ("git clone https://example.org/x.git", "git clone https://example.org/x.git"),
        ("cd sub\npip install -e .", "(cd sub && pip install -e .)"),
        ("V=2\npip install x==$V", "V=2; pip install x==$V"),
        ("module load samtools/1.17", "bioconda samtools=1.17"),
        ("module load gcc/12 && ml minimap2/2.1", "bioconda minimap2=2.1"),
        ("if true; then module load bcftools; fi", "bioconda bcftools"),
        ("module load python/3.11.4", "conda create -y -n job python=3.11"),
    ],
)
def test_setup(body: str, setup: str) -> None:
    assert setup in export(script(body)).fields["setup"]


def test_python_modules_share_one_environment() -> None:
    setup = export(script("module load python/3.10 python/3.10\nmodule load anaconda3\npython a.py")).fields["setup"]
    assert setup.count("conda create") == 1 and "activate job\nconda install -y -c conda-forge numpy" in setup


def test_a_program_in_a_variable_is_installed() -> None:
    assert "gromacs=*=mpi_openmpi*" in export(script("EXE=gmx_mpi\nmpirun -np 4 $EXE mdrun")).fields["setup"]


def test_packages_go_into_the_environment_that_run_activates() -> None:
    setup = export(script("module load gcc python/3.11\npip install x")).fields["setup"].splitlines()
    assert setup.index("conda activate job") < setup.index("pip install x")


def test_an_install_between_programs_stays_at_its_place() -> None:
    found = export(script("pip install pandas==1.4\npython old.py\npip install pandas==2.1\npython new.py"))
    assert "pandas==1.4" in found.fields["setup"] and "pandas==2.1" not in found.fields["setup"]
    assert found.fields["run"] == "python old.py\npip install pandas==2.1\npython new.py\n"


def test_an_install_between_programs_runs_on_every_node() -> None:
    run = export(script("python prepare.py\npip install x\nsrun python train.py", TWO)).fields["run"]
    assert run.index("fi\n") < run.index("pip install x") < run.index("python train.py")


def test_a_container_runtime_is_installed_also_beside_an_environment() -> None:
    body = 'singularity exec /data/a.sif bash -c "\nconda activate vis\npython main.py\n"'
    assert "apptainer" in export(script(body)).fields["setup"]


def test_a_python_module_does_not_hide_the_framework_of_the_image() -> None:
    found = export(script("module load pytorch/2.1 scipy-stack\npython a.py"), site=load("", "none"))
    assert "pytorch" in found.fields["resources"]["image_id"] and "conda" not in found.yaml
    assert "pip install numpy" in found.fields["setup"]


def test_an_environment_that_the_script_makes_is_entered() -> None:
    body = (
        "virtualenv $SLURM_TMPDIR/env\nsource $SLURM_TMPDIR/env/bin/activate\npip install --no-index numpy\npython a.py"
    )
    found = export(script(body))
    assert "source /tmp/env/bin/activate\npip install numpy\npython a.py\n" in found.fields["run"]
    assert "--no-index (line 5): the wheels" in found.yaml


def test_packages_are_installed_in_the_environment_that_the_script_creates() -> None:
    made = "conda init bash\nconda create -y --name job python=3.10\nconda activate job\npip install x\npython a.py"
    found = export(script(made))
    create, enter, install = (found.fields["setup"].index(word) for word in ("create", "conda activate job", "pip"))
    assert create < enter < install and "environment.yml" not in found.yaml
    assert "conda init" not in found.fields["run"]
    found = export(script("if true; then\nconda create -y -n job\nfi\nconda activate job\npip install x\npython a.py"))
    assert "pip install x" in found.fields["run"] and "setup" not in found.fields


@pytest.mark.parametrize("line", ["mamba activate vis", "E=vis\nconda activate $E"])
def test_environments_are_created_however_they_are_entered(line: str) -> None:
    assert "conda env create -n vis" in export(script(f"{line}\npython a.py")).fields["setup"]


def test_programs_below_parallel_are_installed() -> None:
    assert "apptainer" in export(script("parallel singularity exec a.sif sh x.sh ::: 1 2")).fields["setup"]


def test_a_package_is_installed_once_with_the_scripts_version() -> None:
    setup = export(script("module load python/3.9 samtools/1.9\nsamtools view a.bam\nbwa index a.fa"), site=NONE)
    assert setup.fields["setup"].count("conda install") == 1 and setup.fields["setup"].count("samtools") == 1
    assert "samtools=1.9" in setup.fields["setup"]


@pytest.mark.parametrize(
    ("body", "apt"),
    [
        ("module load gromacs\nsrun gmx_mpi mdrun", "openmpi-bin"),
        ("mpirun ~/lammps/src/lmp_mpi -in a.in", "openmpi-bin"),
        ("java -jar /apps/trimmomatic-0.36.jar PE a b", "default-jdk"),
    ],
)
def test_what_a_package_contains_is_not_installed_beside_it(body: str, apt: str) -> None:
    assert apt not in export(script(body, "-n4"), site=NONE).fields["setup"]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("module load gcc python/3.11\npython a.py", False),
        ("module load gcc\nmake && ./a.out", True),
        ("module load gcc\n./solver", True),
        ("module load openmpi\npython a.py", False),
        ("module load openmpi\nmpirun ./a.out", True),
        ("module load openmpi\nmpicc a.c", True),
        ("module load intel\nconda activate e\nsleap-train a", False),
        ("module load intel\nmpirun ~/lammps/src/lmp_mpi", False),
        ("module load intel\n./solver", True),
    ],
)
def test_toolchains_that_nothing_uses_are_left_out(body: str, kept: bool) -> None:
    found = export(script(body, "-n2"), site=NONE).yaml
    assert ("nothing in the script compiles with it" not in found) is kept
    assert ("build-essential" in found or "libopenmpi-dev" in found or "hpckit" in found) is kept


def test_poetrys_environment_is_made_in_setup() -> None:
    found = export(script("module load poetry\npoetry shell\npython -m src.a"), site=NONE).fields
    assert found["run"] == 'eval "$(poetry env activate)"\npython -m src.a\n' and "workdir" in found
    assert found["setup"].endswith("poetry install\n")


def test_modules_of_another_version_are_named() -> None:
    found = export(script("module load gromacs/2021.3 python/3.9.2 jax\npython a.py"), site=load("", "none")).yaml
    assert "module load gromacs/2021.3: setup installs a current version" in found
    assert "module load jax: no version is named" in found and "python/3.9.2:" not in found


def test_programs_of_setup_are_in_the_environment_that_run_enters() -> None:
    found = export(script("module load python opencv\npython a.py"), site=load("", "none"))
    assert "conda install -y -c conda-forge" in found.fields["setup"] and "-n base" not in found.fields["setup"]


def test_a_start_file_in_a_variable_is_named() -> None:
    assert "$CONDA_ACTIVATE" in export(script("source $CONDA_ACTIVATE env\npython a.py")).yaml


def test_setup_has_one_line_for_each_installer() -> None:
    found = export(
        script(
            "module load gcc openmpi\nmodule load samtools\nmodule load python/3.11\nmake\nsamtools view a.bam | bwa x"
        )
    )
    lines = found.fields["setup"].splitlines()
    assert sum("apt-get install" in line for line in lines) == 1
    assert lines.index("conda activate job") < next(at for at, line in enumerate(lines) if "samtools" in line)
    assert not [line for line in lines if "command -v" in line]


def test_an_environment_of_the_old_cluster_is_made_of_a_file_in_the_workdir() -> None:
    found = export(script("module load anaconda\nconda activate torch\nmytool 1"))
    assert found.fields["workdir"] == "."
    assert "conda env create -n torch -f environment.yml" in found.fields["setup"]
    assert "numpy" not in found.fields["setup"]


def test_a_script_that_names_no_environment_gets_a_line_in_setup(tmp_path: Path) -> None:
    text = script("python train.py")
    assert "# TODO: pip install the packages that train.py imports" in export(text).fields["setup"]
    assert "imports" not in export(script("conda activate x\npython train.py")).yaml
    assert "TODO" not in export(script("srun --container-image=a/b python train.py")).yaml
    (tmp_path / "train.py").write_text("import json, torch, yaml\n")
    setup = [_in(tmp_path, text)]
    (tmp_path / "requirements.txt").write_text("torch\n")
    setup.append(_in(tmp_path, text))
    assert setup == ["pip install torch pyyaml\n", "pip install -r requirements.txt\n"]


def _in(folder: Path, text: str) -> str:
    requested = moving.request(text.encode(), "job.sh")
    exported = export_yaml(SubmittedScript(text, requested.components, folder=str(folder)), SITE, "main")
    return str(exported.fields["setup"])


def test_a_module_of_bare_python_names_no_packages() -> None:
    assert "TODO" in export(script("module load python/3.11\npython a.py")).fields["setup"]
    assert "TODO" not in export(script("module load anaconda3\npython a.py")).yaml


def test_a_module_that_brings_its_program_is_installed_once() -> None:
    assert export(script("module load lammps\nlmp -in a.in")).fields["setup"].count("lammps") == 1


def test_an_environment_without_a_list_gets_the_packages_of_the_imports(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch, yaml, os\n")
    source = script("conda activate me\npython a.py")
    components = moving.request(source.encode(), "job.sh").components

    def setup() -> str:
        return str(export_yaml(SubmittedScript(source, components, folder=str(tmp_path)), SITE, "main").fields["setup"])

    assert "conda create -y -n me python=3.11\nconda activate me\npip install torch pyyaml\n" in setup()
    (tmp_path / "me.yml").write_text("dependencies:\n- python\n")
    assert "conda env create -n me -f me.yml\n" in setup() and "TODO" not in setup()


def test_tensorflow_1_is_an_image_for_present_gpus() -> None:
    found = export(script("module load tensorflow/1.15\npython a.py", "--gres=gpu:1"))
    assert found.fields["resources"]["image_id"] == "docker:nvcr.io/nvidia/tensorflow:23.03-tf1-py3"
    assert "tensorflow-gpu" not in found.yaml


def test_an_environment_for_programs_only_has_their_packages() -> None:
    found = export(script("conda activate rnaseq\nnextflow run nf-core/rnaseq -profile test"), site=NONE)
    assert "conda create -y -n rnaseq -c conda-forge -c bioconda nextflow" in found.fields["setup"]
    assert "TODO" not in found.fields["setup"]


def test_an_environment_has_the_packages_of_the_scripts_programs() -> None:
    found = export(script("conda activate llm\nvllm serve m", "--gpus=1"))
    assert "conda create -y -n llm python=3.11" in found.fields["setup"]
    assert found.fields["setup"].endswith("conda activate llm\npip install vllm\n")
    unknown = export(script("conda activate llm\nvllm serve m\nmytool"))
    assert "# TODO: write environment.yml" in unknown.fields["setup"]
