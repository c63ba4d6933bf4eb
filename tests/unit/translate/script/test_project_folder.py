"""The submit folder under the names that a script has for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurmsky.agent.cloud.submit_folder import link
from slurmsky.model.spec import JobSpec
from slurmsky.options.table import load as options
from slurmsky.site import load
from slurmsky.translate.explain.explanation import explain
from slurmsky.translate.script import needs
from slurmsky.translate.script.project_folder import Project, builds


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "CosDefence"
    (folder / "learning").mkdir(parents=True)
    (folder / "train.py").touch()
    (folder / "run.sh").touch()
    return Project(str(folder), str(tmp_path))


@pytest.mark.parametrize(
    ("path", "former"),
    [
        ("/home/me/CosDefence", "/home/me/CosDefence"),
        ("~/repos/CosDefence/learning", "~/repos/CosDefence"),
        ("/work/CosDefence/train.py", "/work/CosDefence"),
        ("/work/CosDefence/learning/$USER/x", "/work/CosDefence"),
        ("/work/CosDefence/elsewhere", ""),
        ("/work/CosDefence/learning/built/later", ""),
        ("/work/CosDefence/learning/built", "/work/CosDefence"),
        ("/work/$USER/CosDefence", ""),
        ("/work/CosDefence-master", "/work/CosDefence-master"),
        ("/work/cosdefence/train.py", "/work/cosdefence"),
        ("/work/cosdefence", ""),
        ("/work/cosdefence-data", ""),
        ("/work/me/other/train.py", "/work/me/other"),
        ("/work/other/learning", ""),
        ("/work/me/other/data.csv", ""),
        ("/work/train.py", ""),
    ],
)
def test_a_path_names_the_folder_where_the_rest_of_it_exists(project: Project, path: str, former: str) -> None:
    assert project.former(path) == former


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("cd /home/you/model\npython train.py", ("/home/you/model",)),
        ("cd $HOME/model/ || exit\n./run.sh", ("~/model",)),
        ("cd /scratch/$USER/model\npython train.py", ("/scratch/me/model",)),
        ("cd /home/you/model\ncd src\nmake\ncd /home/you/model/x", ("/home/you/model",)),
        ("cd /home/you/old/learning\npython train.py", ("/home/you/old",)),
        ("cd /home/you/model\npython train.py\ncd /home/you/other\npython x.py", ()),
        ("cd /data/reads\nfastqc *.fastq.gz", ()),
        ("cd /home/you/model\n./another_program", ()),
        ("mkdir -p /work/run\ncd /work/run\npython train.py", ()),
        ("cd /scratch\npython train.py", ()),
        ("cd /work/$RUN/x\npython train.py", ()),
        ("cd /usr/src/x\nmake", ()),
    ],
)
def test_the_folder_stands_for_the_one_where_the_script_reads_its_files(
    project: Project, text: str, links: tuple[str, ...]
) -> None:
    whole = Project(project.folder, project.home, user="me")
    assert needs.needs_in_folder(needs.of(f"#!/bin/bash\n{text}\n"), whole).links == links


def test_another_folder_of_this_machine_keeps_its_path(project: Project, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    data = b"#!/bin/bash\ncd ~/model\npython train.py\n"
    assert not needs.needs_in_folder(needs.of(data.decode()), project).links
    page = explain(data, (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine="sky", project=project)
    assert next(one.reason for one in page.findings if one.kind == "path").startswith("on this machine, outside")


def test_an_environment_below_a_link_is_made_in_the_folder(project: Project) -> None:
    text = "cd /home/you/model\nsource /home/you/model/venv/bin/activate\npython train.py\n"
    assert needs.needs_in_folder(needs.of(text), project).environments == (f"{project.folder}/venv",)


def test_an_environment_in_the_users_home_folder_is_made_there(project: Project) -> None:
    whole = Project(project.folder, project.home, user="me")
    found = needs.of("source /home/$USER/venvs/x/bin/activate\npython train.py\n")
    assert needs.needs_in_folder(found, whole).environments == ("/home/me/venvs/x",)


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
    found = needs.needs_in_folder(needs.of(text), project)
    assert found.links == ("/old/CosDefence",)
    assert not [name for name in found.folders if "CosDefence" in name] and found.folders


def test_explain_reports_that_the_folder_is_copied(project: Project) -> None:
    data = f"#!/bin/bash\ncd {project.folder}/learning\ncd /old/CosDefence/learning\ncd /old/other\n".encode()
    specs, site = (JobSpec(),), load("", "none")
    page = explain(data, specs, site, options("sbatch"), file="a.sh", engine="sky", project=project)
    assert [(one.line, one.effect) for one in page.findings if one.kind == "path"] == [(3, "changed"), (4, "decision")]


def test_a_node_gets_a_link_and_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link(f"{tmp_path}/old/place", f"{tmp_path}/folder")
    link(f"{tmp_path}/folder", f"{tmp_path}/old")
    assert (tmp_path / "old/place").resolve() == tmp_path / "folder"
    assert not (tmp_path / "folder").is_symlink()


def test_the_project_of_a_script_is_the_folder_above_it_that_it_names(tmp_path: Path) -> None:
    for name in ("ripple/code/jobs", "other/code"):
        (tmp_path / name).mkdir(parents=True)
    script, top = str(tmp_path / "ripple/code/jobs/a.sh"), str(tmp_path)
    assert Project.of_script(script, top, ["/data/x", "/home/you/ripple/code"]).folder == str(tmp_path / "ripple")
    assert Project.of_script(script, top, ["/data/x", "/home/you/other"]).folder == top
    assert Project.of_script(str(tmp_path / "a.sh"), top, ["/home/you/ripple"]).folder == top


@pytest.mark.parametrize(
    "starts",
    [
        "bash run.sh",
        "srun ./run.sh a b",
        "srun -n2 run.sh",
        "source run.sh",
        ". ./run.sh",
        "sh -e $SLURM_SUBMIT_DIR/run.sh",
        "cd learning && bash ../run.sh",
        'DIR=$PWD\nmpirun bash "$DIR"/run.sh',
    ],
)
def test_a_script_that_the_script_starts_is_read_too(project: Project, starts: str) -> None:
    inner = "#!/bin/bash\nmodule load own/3\ngmx mdrun\ncat /vault/$NAME/x /vault/y\nmkdir -p /results/z\n./own\n"
    (Path(project.folder) / "run.sh").write_text(inner)
    text = f"#!/bin/bash\nNAME=data\n{starts}\n"
    page = explain(
        text.encode(), (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine="sky", project=project
    )
    decisions = [(one.line, one.text, one.suggestion) for one in page.findings if one.effect == "decision"]
    line = text.count("\n")
    assert [(at, text.split(":", 1)[1]) for at, text, _ in decisions] == [
        (line, "2 module load own/3"),
        (line, "4 /vault/data/x"),
    ]
    assert all("run.sh:" in text and lines for _, text, lines in decisions)
    found = needs.with_started(needs.of(text), text, project)
    assert (
        set(found.programs) - {"mpirun"} == {"gmx"} and "/results" in found.folders[0] and found.modules == ("own/3",)
    )


@pytest.mark.parametrize(
    "line", ["bash /old/run.sh", "run.sh", "bash -c 'echo run.sh'", "./prog", "bash gone.sh", "cat run.sh"]
)
def test_what_is_no_script_of_the_folder_is_not_read(project: Project, line: str) -> None:
    (Path(project.folder) / "run.sh").write_text("cat /vault/x\n")
    (Path(project.folder) / "prog").write_bytes(b"\x7fELF\0 cat /vault/x\n")
    assert needs.with_started(needs.of(line), line, project) == needs.of(line)


def test_a_sourced_file_gives_functions(project: Project) -> None:
    (Path(project.folder) / "env.sh").write_text("function prepare_all { true; }\n")
    data = b"#!/bin/bash\nsource env.sh\nprepare_all\n"
    page = explain(
        data, (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine="local", project=project
    )
    assert next(one.reason for one in page.findings if one.text == "prepare_all") == "a function of the script"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("solve.c", "", True),
        ("solve", "", True),
        ("Makefile", "all: solve\n", True),
        ("CMakeLists.txt", "add_executable(solve main.c)\n", True),
        ("Makefile", "all: solver presolve solve.o\n", False),
        ("other.c", "", False),
    ],
)
def test_a_folder_builds_a_program(tmp_path: Path, file: str, text: str, expected: bool) -> None:
    (tmp_path / file).write_text(text)
    assert builds((str(tmp_path / "none"), str(tmp_path)), "solve") == expected


def test_a_file_for_multi_prog_is_no_script(project: Project) -> None:
    (Path(project.folder) / "multi.conf").write_text("0 nosuchprogram\n1 other\n")
    text = "#!/bin/bash\nsrun --multi-prog multi.conf\n"
    page = explain(
        text.encode(), (JobSpec(),), load("", "none"), options("sbatch"), file="a.sh", engine="sky", project=project
    )
    assert page.unchanged


def test_data_of_the_project_is_found_in_a_home_folder_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "refs.txt").write_text("")
    project = Project(str(tmp_path))
    assert project.former("/home/GROUP/me/other/refs.txt") == "/home/GROUP/me/other"
    assert project.former("/scratch/me/other/refs.txt") == "" == project.former("/home/me/other/none.txt")
