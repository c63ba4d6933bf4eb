"""A project's own modules and programs, which Python finds after an installation."""

from __future__ import annotations

from pathlib import Path

from slurmsky.translate.script.own_packages import OwnPackage, own_packages


def project(top: Path, **files: str) -> str:
    for name, text in files.items():
        path = top / name.replace("__", "/").replace("_py", ".py").replace("_toml", ".toml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (top / ".git").mkdir(exist_ok=True)
    return str(top)


def test_modules_beside_the_started_file_need_nothing(tmp_path: Path) -> None:
    folder = project(tmp_path, train_py="import model, torch", model_py="")
    assert own_packages("python train.py", folder) == []


def test_modules_of_the_projects_folder_are_not_beside_a_script_in_a_subfolder(tmp_path: Path) -> None:
    project(tmp_path, scripts__train_py="import net.layer", net__layer_py="")
    assert own_packages("python scripts/train.py", str(tmp_path)) == [OwnPackage("net", 0)]
    assert own_packages("python train.py", str(tmp_path / "scripts")) == [OwnPackage("net", 1)]


def test_pip_installs_a_project_with_a_project_file(tmp_path: Path) -> None:
    folder = project(tmp_path, scripts__a_py="import net", src__net__layer_py="", pyproject_toml="[project]\n")
    assert own_packages("python scripts/a.py", folder) == [OwnPackage("net", 0, installed=True)]
    assert own_packages("pip install -e .\npython scripts/a.py", folder) == []


def test_a_file_that_extends_the_search_path_finds_its_modules(tmp_path: Path) -> None:
    folder = project(tmp_path, scripts__a_py="import sys\nsys.path.append('..')\nimport net", net__x_py="")
    assert own_packages("python scripts/a.py", folder) == [OwnPackage("net", 0, found=True)]


def test_a_name_of_own_modules_that_no_folder_has_is_reported(tmp_path: Path) -> None:
    folder = project(tmp_path, a_py="from utils import x\nimport numpy")
    assert own_packages("python a.py", folder) == [OwnPackage("utils", -1)]


def test_a_program_that_the_project_defines_is_its_own(tmp_path: Path) -> None:
    project(tmp_path, jobs__a_py="", pyproject_toml='[project.scripts]\nmytool = "net.cli:main"\n')
    assert own_packages("mytool", str(tmp_path / "jobs"), ["mytool"]) == [OwnPackage("mytool", 1, installed=True)]
    assert own_packages("other", str(tmp_path / "jobs"), ["other"]) == []
