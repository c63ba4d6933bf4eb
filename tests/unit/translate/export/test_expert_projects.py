"""Exported YAML of scripts in a project folder: its files, packages, programs and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from moving_script import moving
from yaml_exports import SITE
from yaml_exports import export_body as export

from slurmsky.translate.export.conversion import Dropped
from slurmsky.translate.export.yaml_export import SubmittedScript, export_yaml


def test_packages_of_an_environment_are_a_todo_where_the_folder_lists_none(tmp_path: Path) -> None:
    conda, pip = "conda activate x\npython a.py", "source ~/x/bin/activate\npython a.py"
    assert "# TODO: write environment.yml: conda env export --no-builds -n x" in export(conda).fields["setup"]
    assert "# TODO: write requirements.txt: pip freeze" in export(pip).fields["setup"]
    for name in ("environment.yml", "requirements.txt", "a.py"):
        (tmp_path / name).write_text("numpy\n" if name == "requirements.txt" else "dependencies = [numpy]\n")
    assert "TODO" not in export(conda, folder=str(tmp_path)).yaml + export(pip, folder=str(tmp_path)).yaml
    filled = "conda activate x\nconda install -n x numpy\npython a.py"
    assert "conda create -y -n x python\n" in export(filled).fields["setup"]


def test_packages_of_julia_and_r(tmp_path: Path) -> None:
    (tmp_path / "a.jl").write_text("using MPI, LinearAlgebra\nusing DataFrames: nrow\n")
    (tmp_path / "a.R").write_text("library(dplyr)\n# library(no)\nlibrary('stats')\n")
    folder = str(tmp_path)
    assert "julia --project=. -e 'using Pkg; Pkg.instantiate()'" in export("julia --project=. a.jl").fields["setup"]
    assert 'Pkg.add(["MPI", "DataFrames"])' in export("julia a.jl", folder=folder).fields["setup"]
    assert "# TODO: julia -e" in export("julia b.jl").fields["setup"]
    assert 'install.packages(c("dplyr"), repos' in export("Rscript a.R", folder=folder).fields["setup"]
    assert "# TODO: sudo Rscript -e" in export("R CMD BATCH b.R").fields["setup"]
    assert "MPIPreferences" in export("module load openmpi\nsrun julia a.jl", "-n 4").fields["setup"]
    assert "apt-get" not in export("conda activate r\nRscript a.R", folder=folder).yaml


def test_a_program_that_the_workdir_lacks_is_built_in_setup(tmp_path: Path) -> None:
    assert "TODO: build main in setup" in export("mpirun ./main", folder=str(tmp_path)).yaml
    assert "TODO: build" not in export("make\nmpirun ./main", folder=str(tmp_path)).yaml


def test_the_image_of_shifters_directive_is_the_tasks(tmp_path: Path) -> None:
    source = "#!/bin/bash\nsrun shifter ./a\n"
    spec = moving.request(source.encode(), "job.sh").components[0]
    dropped = [Dropped(2, "--image=docker:nersc/x:1", "no option of Slurm")]
    found = export_yaml(SubmittedScript(source, [spec], dropped=dropped), SITE, "")
    assert found.fields["resources"]["image_id"] == "docker:nersc/x:1" and found.fields["run"] == "./a\n"
    assert "no option" not in found.yaml


def test_the_root_of_the_repository_is_the_workdir_if_the_script_asks_git_for_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "jobs").mkdir()
    found = export("cd $(git rev-parse --show-toplevel)\n./a", folder=str(tmp_path / "jobs"))
    assert found.fields["workdir"] == ".." and found.fields["run"].startswith("cd jobs\n")


def test_a_folder_of_chdir_is_not_the_workdirs_former_path(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    source = "#!/bin/bash\ncd /home/me/proj\npython a.py\n"
    spec = moving.request(source.encode(), "job.sh").components[0].evolve(chdir=f"{tmp_path}/log")
    found = export_yaml(SubmittedScript(source, [spec], folder=str(tmp_path)), SITE, "")
    assert str(tmp_path) not in found.yaml and "cd log" not in found.fields["run"]


def test_python_files_of_mpi_are_one_program_on_all_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from mpi4py import MPI\n")
    found = export("srun python a.py", "-N2;--ntasks-per-node=1", folder=str(tmp_path))
    assert "mpirun -np 2" in found.yaml or found.needs


@pytest.mark.parametrize(
    ("body", "workdir", "begins"),
    [
        ("python parse.py --out x", "jobs", ""),  # the script's own folder has parse.py
        ("python parse.py ../data", ".", "cd jobs\n"),
        ("mkdir -p ../raw\ncd ../raw\n./get", ".", "cd jobs\n"),  # only above
        ("python train.py", ".", ""),
        ("python train.py ../data", "..", "cd project\n"),
        ("python parse.py train.py", ".", ""),  # both have a file: sbatch is called in the project's folder
        ("hostname", ".", ""),
    ],
)
def test_a_script_below_the_submit_folder_starts_where_its_files_are(
    tmp_path: Path, body: str, workdir: str, begins: str
) -> None:
    folder = tmp_path / "project"
    (folder / "jobs").mkdir(parents=True)
    for name in ("train.py", "jobs/parse.py", "jobs/job.sh"):
        (folder / name).write_text("")
    text = f"#!/bin/bash\n{body}\n"
    specs: Any = moving.request(text.encode(), "job.sh").components
    spec = specs[0].evolve(chdir=str(folder))
    found = export_yaml(SubmittedScript(text, [spec], folder=str(folder), path="jobs/job.sh"), SITE, "")
    assert found.fields.get("workdir", ".") == workdir
    assert found.fields["run"].startswith(begins) and found.fields["run"].startswith("cd ") == bool(begins)


def test_packages_of_r_come_from_the_lock_file_or_the_installer_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.R").write_text('source("b.R")\nlibrary(dplyr)\n')
    (tmp_path / "b.R").write_text("library(DESeq2)\n")
    (tmp_path / "go.sh").write_text("Rscript a.R\n")
    for body in ("Rscript a.R", "bash go.sh"):
        setup = export(body, folder=str(tmp_path)).fields["setup"]
        assert 'BiocManager::install(c("dplyr", "DESeq2"))' in setup and "libcurl4-openssl-dev" in setup
    (tmp_path / "renv.lock").write_text("{}")
    setup = export("Rscript a.R", folder=str(tmp_path)).fields["setup"]
    assert "renv::restore" in setup and "dplyr" not in setup


def test_imports_of_files_that_a_shell_script_starts_are_installed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import numpy, utils")
    (tmp_path / "go.sh").write_text("python a.py\n")
    found = export("bash go.sh", folder=str(tmp_path))
    assert found.fields["setup"].endswith("pip install numpy\n")
    assert "import utils: no folder of the project has this module" in found.yaml


def test_the_projects_own_modules_and_programs_are_known_to_python(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    jobs, net = tmp_path / "jobs", tmp_path / "net"
    jobs.mkdir()
    net.mkdir()
    (jobs / "a.py").write_text("import net.layer")
    (net / "layer.py").write_text("")
    found = export("python a.py", folder=str(jobs))
    assert found.fields["workdir"] == ".." and "pip install" not in found.yaml
    assert "cd jobs\nexport PYTHONPATH=$PWD/..:$PYTHONPATH\npython a.py" in found.fields["run"]
    (tmp_path / "pyproject.toml").write_text('[project.scripts]\nnet-train = "net.cli:main"\n')
    found = export("net-train", folder=str(jobs))
    assert "cd jobs\npip install -e ..\n" in found.fields["setup"] and "To do" not in found.yaml


def test_an_unbuilt_program_at_a_relative_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.in").write_text("")
    assert "build ../build/solver in setup" in export("srun ./../build/solver a.in", folder=str(tmp_path)).yaml


def test_setup_compiles_the_only_source_of_a_program(tmp_path: Path) -> None:
    (tmp_path / "solve.c").write_text("#include <mpi.h>\n#include <math.h>\n#pragma omp parallel\n")
    (tmp_path / "Makefile").write_text("all: heat\nheat: heat.f90\n\tgfortran -o heat heat.f90\n")
    setup = export("mpirun ./solve\n./heat", "-n4", folder=str(tmp_path)).fields["setup"]
    assert "mpicc -O2 -fopenmp -o solve solve.c -lm" in setup and "make heat" in setup
    assert "libopenmpi-dev" in setup and "gfortran" in setup and setup.index("apt-get") < setup.index("mpicc")
    found = export("module load intel intelmpi\nmpirun ./solve", "-n4", folder=str(tmp_path))
    assert "mpicc -O2" in found.fields["setup"] and "libopenmpi-dev" not in found.fields["setup"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("singularity run app/tool.sif", "(cd .. && apptainer build app/app/tool.sif Singularity.def)"),
        ("apptainer exec tool.sif a", "(cd .. && apptainer build app/tool.sif Singularity.def)"),
        ("apptainer pull tool.sif docker://a/b\napptainer exec tool.sif a", ""),
    ],
)
def test_setup_builds_an_image_file_from_the_projects_definition(tmp_path: Path, body: str, expected: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "Singularity.def").write_text("Bootstrap: docker\nFrom: ubuntu\n")
    found = export(body, folder=str(tmp_path / "app"))
    assert ("apptainer build" in found.yaml) == bool(expected) and expected in found.yaml
    assert found.fields["workdir"] == (".." if expected else ".")


def test_an_image_file_without_a_definition_and_missing_inputs_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    found = export("apptainer exec x.sif a\npython a.py --input in/b.csv", folder=str(tmp_path)).yaml
    assert "../x.sif: the workdir" in export("apptainer exec ../x.sif a", folder=str(tmp_path)).yaml
    assert "x.sif: the workdir has no such image file" in found and "in/b.csv: the workdir" not in found
    found = export("gunzip c.csv.gz\npython a.py --input in/b.csv --data c.csv", folder=str(tmp_path)).yaml
    assert "c.csv.gz, in/b.csv: the workdir has no such file" in found


def test_an_environment_without_a_list_gets_the_projects_packages(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.poetry.dependencies]\npython = "~3.10"\ntorch = "*"\n')
    found = export("conda activate me\nwandb agent a/b/c", folder=str(tmp_path))
    assert "conda create -y -n me python=3.10\n" in found.fields["setup"]
    assert found.fields["setup"].endswith("pip install poetry\npoetry install --no-root\n")
    assert found.fields["secrets"] == {"WANDB_API_KEY": None}


@pytest.mark.parametrize("line", ["conda activate base", "source activate base"])
def test_base_does_not_hide_the_environment_of_setup(tmp_path: Path, line: str) -> None:
    (tmp_path / "environment.yml").write_text("dependencies:\n- python\n")
    (tmp_path / "a.py").write_text("")
    found = export(f"{line}\npython a.py", folder=str(tmp_path))
    assert found.fields["run"] == "conda activate job\npython a.py\n"
    assert "conda activate base" in export("conda activate x\n./a\nconda deactivate\nconda activate base").yaml


@pytest.mark.parametrize("config", ["executor {\n  name = 'slurm'\n}\n", "process.executor = 'slurm'\n"])
def test_nextflow_with_slurm_in_its_settings_runs_on_the_node(tmp_path: Path, config: str) -> None:
    (tmp_path / "nextflow.config").write_text(config)
    found = export("export NXF_EXECUTOR=slurm\nsrun nextflow run a.nf -resume", folder=str(tmp_path))
    assert not found.needs and found.fields["run"] == "nextflow run a.nf -resume -process.executor local\n"
    (tmp_path / "nextflow.config").write_text("// executor = 'slurm'\n")
    assert "local" not in export("nextflow run a.nf", folder=str(tmp_path)).fields["run"]


def test_the_programs_of_a_wandb_agent_are_read(tmp_path: Path) -> None:
    (tmp_path / "sweep_me.py").write_text("import wandb, torch\n")
    assert "pip install wandb torch" in export("wandb agent a/b", folder=str(tmp_path)).fields["setup"]


def test_old_paths_in_the_projects_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys\nsys.path.append('/home/me/lib')\n# x = '/home/me/b'\n")
    (tmp_path / "b.R").write_text('dir = "/Users/me/data/"\nsource(paste0(dir, "code/c.R"))\n')
    (tmp_path / "c.R").write_text("library(glmnet)\n")
    found = export("python a.py\nRscript b.R", folder=str(tmp_path))
    assert "/home/me/lib in a.py, /Users/me/data/ in b.R: the project's file names this path" in found.yaml
    assert "/home/me/b" not in found.yaml and 'c("glmnet")' in found.fields["setup"]


def test_a_bare_program_of_the_folder_is_built(tmp_path: Path) -> None:
    (tmp_path / "solve.c").write_text("#include <mpi.h>\n")
    found = export("mpirun solve", "-n4", folder=str(tmp_path))
    assert "mpicc -O2 -o solve solve.c" in found.fields["setup"] and "solve: no package" not in found.yaml
    found = export("make\nmpirun solve", "-n4", folder=str(tmp_path)).yaml
    assert "mpicc -O2" not in found and "solve: no package" not in found


def test_packages_come_from_the_nearest_file_of_the_repository_that_names_what_is_imported(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    (tmp_path / ".git").mkdir()
    jobs.mkdir()
    (jobs / "a.py").write_text("import numpy\n")
    (tmp_path / "requirements.txt").write_text("mkdocs\n")  # of another part of the repository
    assert "pip install numpy\n" in export("python a.py", folder=str(jobs)).fields["setup"]
    (tmp_path / "requirements.txt").write_text("numpy==1.26\n")
    found = export("conda activate x\npython a.py", folder=str(jobs))
    assert found.fields["workdir"] == ".." and found.fields["setup"].startswith("cd jobs\n")
    assert "conda activate x\npip install -r ../requirements.txt\n" in found.fields["setup"]
    (tmp_path / "environment.yaml").write_text("dependencies: [numpy]\n")
    assert "env create -n x -f ../environment.yaml" in export("conda activate x\npython a.py", folder=str(jobs)).yaml


@pytest.mark.parametrize(
    ("project", "line"),
    [
        ('[project]\ndependencies = ["numpy"]\n', "uv pip install --system -r pyproject.toml\n"),
        ('[build-system]\n[project]\ndependencies = ["numpy"]\n', "pip install -e .\n"),
        ("[tool.poetry.dependencies]\nnumpy = '*'\n", "pip install poetry\npoetry install --no-root\n"),
    ],
)
def test_a_projects_own_list_of_packages_is_installed(tmp_path: Path, project: str, line: str) -> None:
    (tmp_path / "pyproject.toml").write_text(project)
    (tmp_path / "a.py").write_text('f"{d["x"]}"\nimport numpy, other\n')  # Python 3.11 cannot parse it
    assert export("python a.py", folder=str(tmp_path)).fields["setup"] == line


def test_a_framework_that_the_requirements_omit_is_installed_before_them(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pytorch_msssim\n")
    (tmp_path / "a.py").write_text("import torch, pytorch_msssim\n")
    setup = export("conda activate x\npython a.py", folder=str(tmp_path)).fields["setup"]
    assert setup.endswith("pip install torch\npip install -r requirements.txt\n")
    (tmp_path / "requirements.txt").write_text("torch==2.1\n")
    assert "pip install torch\n" not in export("python a.py", folder=str(tmp_path)).fields["setup"]


def test_an_environment_of_the_folder_is_entered_beside_a_module_of_python(tmp_path: Path) -> None:
    (tmp_path / "environment.yml").write_text("dependencies: [numpy]\n")
    (tmp_path / "a.py").write_text("import numpy\n")
    found = export("module load python3\npython a.py", folder=str(tmp_path))
    assert found.fields["setup"] == "conda env create -n job -f environment.yml\nconda activate job\n"
    assert found.fields["run"] == "conda activate job\npython a.py\n"


def test_a_virtual_environment_of_the_workdir_is_made_with_the_jobs_packages(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "a.py").write_text("import numpy\n")
    found = export(".venv/bin/python a.py", folder=str(tmp_path))
    assert found.fields["setup"] == "python3 -m venv .venv\n.venv/bin/pip install -r requirements.txt\n"
    assert "TODO" not in found.yaml


def test_condas_own_folder_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import numpy\n")
    for body in ("source /u/me/miniforge3/bin/activate\npython a.py", "/u/me/anaconda3/bin/python a.py"):
        found = export(body, folder=str(tmp_path))
        assert found.fields["setup"] == "pip install numpy\n" and found.fields["run"] == "python a.py\n"


def test_packages_of_r_outside_of_cran_come_from_the_projects_own_words(tmp_path: Path) -> None:
    (tmp_path / "a.R").write_text("library(dplyr)\nlibrary(sl3)\nlibrary(mine)\nlibrary(ours)\n")
    (tmp_path / "README.md").write_text('`devtools::install_github("me/mine")`\n')
    (tmp_path / "DESCRIPTION").write_text("Package: ours\n")
    setup = export("R CMD BATCH a.R", folder=str(tmp_path)).fields["setup"]
    assert 'install.packages(c("dplyr"), repos' in setup
    assert 'install_github(c("tlverse/sl3", "me/mine"))' in setup and 'install_local(".")' in setup
    setup = export("conda activate r\nRscript a.R", folder=str(tmp_path)).fields["setup"]
    assert "conda create -y -n r -c conda-forge -c bioconda r-base\nconda activate r\nRscript -e" in setup
    assert "sudo" not in setup


def test_missing_folders_and_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "main.nf").write_text("")
    found = export("nextflow run main.nf -with-singularity a.sif", folder=str(tmp_path))
    assert "a.sif: the workdir has no such image file" in found.yaml
    (tmp_path / "go.sh").write_text("")
    found = export("cd parts\nbash run1", folder=str(tmp_path))
    assert "parts/: the workdir has no such folder" in found.yaml
    assert "no such folder" not in export("mkdir -p parts\ncd parts\nbash run1", folder=str(tmp_path)).yaml
