"""The submit folder under the names that a script has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.agent.cloud.submit_folder import link
from slurmsky.model.spec import JobSpec
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate import wants
from slurmsky.translate.explain import explain
from slurmsky.translate.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "CosDefence"
    (folder / "learning").mkdir(parents=True)
    (folder / "train.py").touch()
    return Project(str(folder), str(tmp_path))


@pytest.mark.parametrize(
    ("path", "former"),
    [
        ("/home/me/CosDefence", "/home/me/CosDefence"),
        ("~/repos/CosDefence/learning", "~/repos/CosDefence"),
        ("/work/CosDefence/train.py", "/work/CosDefence"),
        ("/work/CosDefence/learning/$USER/x", "/work/CosDefence"),
        ("/work/CosDefence/elsewhere", ""),
        ("/work/$USER/CosDefence", ""),
        ("/work/other/train.py", ""),
    ],
)
def test_a_path_names_the_folder_where_the_rest_of_it_exists(project: Project, path: str, former: str) -> None:
    assert project.former(path) == former


def test_a_common_name_alone_identifies_no_project(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    assert Project(str(tmp_path / "scripts")).former("/work/scripts") == ""


def test_the_home_folder_is_no_project(tmp_path: Path) -> None:
    assert Project(str(tmp_path), str(tmp_path)).former(f"/scratch/{tmp_path.name}") == ""


def test_paths_in_the_folder_need_nothing(project: Project) -> None:
    assert project.holds(f"{project.folder}/x") and project.holds("~/CosDefence/x")
    assert not project.holds(f"{project.folder}2") and not project.holds("~/other")


def test_setup_makes_no_folder_in_the_submit_folder(project: Project) -> None:
    text = f"mkdir -p {project.folder}/out /old/CosDefence/learning/out /results/x\ncd /old/CosDefence\n"
    found = wants.beside(wants.of(text), project)
    assert found.links == ("/old/CosDefence",)
    assert not [name for name in found.folders if "CosDefence" in name] and found.folders


def test_explain_says_that_the_folder_travels(project: Project) -> None:
    data = f"#!/bin/bash\ncd {project.folder}/learning\ncd /old/CosDefence/learning\ncd /old/other\n".encode()
    specs, site = (JobSpec(),), load("", "none")
    page = explain(data, specs, site, options("sbatch"), file="a.sh", engine="sky", project=project)
    assert [(one.line, one.fate) for one in page.findings if one.kind == "path"] == [(3, "changed"), (4, "decision")]


def test_a_node_gets_a_link_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link(f"{tmp_path}/old/place", f"{tmp_path}/folder")
    link(f"{tmp_path}/folder", f"{tmp_path}/old")
    assert (tmp_path / "old/place").resolve() == tmp_path / "folder"
    assert not (tmp_path / "folder").is_symlink()
