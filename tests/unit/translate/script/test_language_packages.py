"""Packages of R, Julia and Python files in the setup of jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from slurmsky.engines.files.launch_needs import needs_of
from slurmsky.site import load
from slurmsky.translate.script import needs
from slurmsky.translate.script.declared_packages import PythonPackages
from slurmsky.translate.script.language_packages import named_packages
from slurmsky.translate.sky_task.setup_commands import preparation


def test_a_job_installs_the_packages_of_its_r_files(tmp_path: Path) -> None:
    (tmp_path / "fit.R").write_text("library(stats)\nlibrary(lme4)\nsource('more.R')\n")
    (tmp_path / "more.R").write_text("require(ggplot2)\n")
    (tmp_path / "renv.lock").write_text("{}")  # setup runs before the folder is copied, and has no lock file
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\nmodule load R\nRscript fit.R\n")
    launch: Any = SimpleNamespace(script=str(script), submit_dir=str(tmp_path), work_dir=str(tmp_path), environment={})
    _, setup, _ = preparation(load("", "none"), needs_of(launch))
    assert (
        setup[-1] == 'sudo Rscript -e \'install.packages(c("lme4", "ggplot2"), repos = "https://cloud.r-project.org")\''
    )
    assert "r-base" in setup[0]


def test_packages_of_julia_files_are_installed_with_the_julia_of_setup(tmp_path: Path) -> None:
    (tmp_path / "a.jl").write_text("using LinearAlgebra, JSON\n")
    (line,) = named_packages("#!/bin/bash\njulia a.jl\n", tmp_path)
    assert line.text == """PATH="$HOME/.juliaup/bin:$PATH" julia -e 'using Pkg; Pkg.add(["JSON"])'"""
    for project in ("julia --project=. a.jl\nRscript absent.R", "export JULIA_PROJECT=.\njulia a.jl"):
        assert named_packages(f"#!/bin/bash\n{project}\n", tmp_path) == (), "Project.toml is not on the node yet"


def test_pip_installs_into_the_environment_of_pythons_module() -> None:
    """`module load python` puts that environment first in PATH, and its Python has no package of another one."""
    text = "#!/bin/bash\nmodule load tensorflow python/3.11\ntorchrun a.py\n"
    _, setup, _ = preparation(load("", "none"), replace(needs.of(text), python=PythonPackages(("numpy",))))
    assert setup == [
        "conda create -y -p ~/.conda/envs/job python=3.11",
        "~/.conda/envs/job/bin/pip install 'tensorflow[and-cuda]'",
        "command -v torchrun >/dev/null || (~/.conda/envs/job/bin/pip install 'torch')",
        "~/.conda/envs/job/bin/pip install numpy",
    ]
