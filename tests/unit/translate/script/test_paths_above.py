"""Relative names above the submit folder; software of the old cluster (start files, Spack)."""

from __future__ import annotations

import pytest

from slurmsky.model.spec import JobSpec
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate.explain.explanation import Page, explain
from slurmsky.translate.script import needs
from slurmsky.translate.script.paths_above import outside
from slurmsky.translate.script.project_folder import Project
from slurmsky.translate.shell.script_commands import parse
from slurmsky.translate.shell.script_variables import Scope


def page(text: str, engine: str = "sky") -> Page:
    data = f"#!/bin/bash\n{text}\n".encode()
    return explain(data, (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine=engine)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python ../train.py", "../train.py"), ("cd ..\npython train.py", ".."), ("cd src\npython ../train.py", ""),
        ("cd src\npython ../../train.py", "../../train.py"), ("cd /work/x\npython ../train.py", ""),
        ("D=../data\npython train.py --data=$D/x", "../data/x"), ("python train.py --output_dir ../out", ""),
        ("mkdir -p ../logs\necho ../x", ""), ("source ../.env", "../.env"), ("[ -f ../x ] && true", ""),
        ("cd a/b\ncd ../..\nmake", ""), ("cd $X\npython ../x.py", ""),
        ("H=`pwd`\ncmake -S $H/.. -B $H/build", "$PWD/.."), ("cd a\npython $PWD/../x.py", ""),
        ("cd $SLURM_SUBMIT_DIR\npython ../x.py", "../x.py"), ("cd a\npython $SLURM_SUBMIT_DIR/../x.py",
         "$SLURM_SUBMIT_DIR/../x.py"), ("cd a\ncd $SLURM_SUBMIT_DIR\npython a/../x.py", ""),
    ],
)  # fmt: skip
def test_names_above_the_submit_folder(text: str, found: str) -> None:
    script = parse(f"#!/bin/bash\n{text}\n")
    above = outside(script, Scope.of(script))
    assert (above[1] if above else "") == found


def test_a_file_above_the_submit_folder_changes_the_copied_folder() -> None:
    assert [one.effect for one in page("python ../train.py").findings if one.kind == "path"] == ["changed"]
    assert page("python ../train.py", "local").unchanged


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("spack load gcc@9.3.0 %gcc cmake", ("gcc/9.3.0", "cmake")), ("spack install hdf5\nspack load hdf5", ()),
        ("source /opt/x/bin/GMXRC.bash", ("gromacs",)), (". /vol/cuda/11.7.1-cudnn8/setup.sh", ("cuda/11.7",)),
        ("source /projects/intel/mkl/bin/mklvars.sh intel64", ("intel",)),
    ],
)  # fmt: skip
def test_software_of_the_old_cluster_replaces_its_modules(text: str, modules: tuple[str, ...]) -> None:
    assert needs.of(f"#!/bin/bash\n{text}\n").modules == modules


def test_unknown_and_licensed_software_is_a_decision() -> None:
    assert not page("spack load laghos@3.1\nsrun laghos").unchanged
    assert not page("source /apps/freesurfer/SetUpFreeSurfer.sh").unchanged
    assert page("source /apps/gromacs/bin/GMXRC\ngmx mdrun -s topol.tpr").unchanged


def test_a_program_of_another_folder_is_installed_and_linked() -> None:
    found = page("/home/me/apps/nextflow run main.nf")
    assert found.unchanged and "nextflow" in found.task_yaml
    assert 'ln -s "$(command -v nextflow)" /home/me/apps/nextflow' in found.task_yaml


def test_a_start_file_in_the_home_folder_exists_on_the_node() -> None:
    assert "touch ~/bin/gmx/bin/GMXRC" in page("source ~/bin/gmx/bin/GMXRC").task_yaml


def test_the_folder_above_is_copied_where_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    own = tmp_path / "me" / "project" / "scripts" / "slurm"
    own.mkdir(parents=True)

    def effects(text: str, folder: str, work_dir: str = "") -> set[str]:
        source = f"#!/bin/bash\n{text}\n".encode()
        project = Project(folder, str(tmp_path / "me"), work_dir)
        reported = explain(source, (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine="sky",
                       project=project)  # fmt: skip
        return {one.effect for one in reported.findings if one.kind == "path"}

    assert effects("python ../train.py", str(own)) == {"changed"}
    assert effects("cd ../..\npython train.py", str(own)) == {"changed"}
    assert effects("python ../../../train.py", str(own)) == {"decision"}  # the home folder
    assert effects("python ../x.py", str(own.parent), str(own)) == {"changed"}
    assert Project(str(own.parent), "", str(own)).above(1) == str(own.parent)  # the submit folder holds it
    (own / "link").symlink_to(own.parent)
    assert Project(str(own / "link")).above(1) == ""
