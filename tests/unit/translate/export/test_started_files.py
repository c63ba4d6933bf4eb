"""Translations of scripts that start files beside them, which use Slurm's variables and commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from moving_script import moving

from slurmsky.site import load
from slurmsky.translate.export.yaml_export import ExportedYaml, SubmittedScript, export_yaml

SITE = load("", "")


def export(body: str, folder: Path, *directives: str) -> ExportedYaml:
    source = "#!/bin/bash\n" + "".join(f"#SBATCH {line}\n" for line in directives) + body + "\n"
    spec = moving.request(source.encode(), "job.sh").components[0].evolve(chdir=str(folder))
    return export_yaml(SubmittedScript(source, [spec], folder=str(folder), path="job.sh"), SITE, "")


@pytest.mark.parametrize(
    ("program", "directives", "expected"),
    [
        ('print(os.environ["SLURM_CPUS_PER_TASK"])', ("-c 4",), 'SLURM_CPUS_PER_TASK: "4"'),
        ('os.environ["SLURM_ARRAY_TASK_ID"]', ("--array=1-3",), "export SLURM_ARRAY_TASK_ID=$TASK_ID\n"),
        ('os.environ["SLURM_ARRAY_TASK_ID"]', (), "TASK_ID: null"),
        ('os.getenv("SLURM_JOB_ID")', (), "export SLURM_JOB_ID=$SKYPILOT_MANAGED_JOB_ID\n"),
        ('os.environ["SLURM_NODELIST"]', (), "export SLURM_NODELIST=$(hostname)\n"),
    ],
)
def test_variables_of_slurm_that_a_program_reads_are_set(
    program: str, directives: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(f"import os\n{program}\n")
    found = export("python a.py", tmp_path, *directives)
    assert not found.needs and expected in found.yaml


def test_variables_that_are_optional_or_need_an_option_are_left_unset(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'import os\nos.getenv("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_CPUS_PER_TASK")\n'
    )
    assert "SLURM" not in export("python a.py", tmp_path).yaml


def test_an_imported_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b\n")
    (tmp_path / "b.py").write_text('import os\nos.environ["SLURM_JOB_NAME"]\n')
    assert "SLURM_JOB_NAME: job" in export("python a.py", tmp_path).yaml


@pytest.mark.parametrize(("more", "loop"), [("", True), ('os.environ["RANK"]\n', False), ('init("env://")\n', False)])
def test_a_program_that_reads_the_ranks_of_tasks_gets_them(more: str, loop: bool, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f'import os\nos.environ["SLURM_PROCID"]\n{more}')
    found = export("export MASTER_PORT=1234\nsrun python a.py", tmp_path, "-N1", "--ntasks=4", "--gres=gpu:4")
    assert not found.needs and ("SLURM_PROCID=" in found.fields["run"]) == loop
    assert ("torchrun" in found.fields["run"]) != loop


def test_the_projects_old_path_in_a_started_file_is_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model-zoo"
    folder.mkdir()
    (folder / "a.py").write_text('import os\nopen("/home/me/repos/model-zoo/b.txt")\n')
    (folder / "b.txt").write_text("")
    found = export("python a.py", folder)
    line = "sudo mkdir -p /home/me/repos && sudo ln -sfn ~/sky_workdir /home/me/repos/model-zoo"
    assert line in found.fields["setup"] and "To do" not in found.yaml


def test_modules_and_programs_of_a_started_script_are_installed(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("module load samtools\nbwa index x.fa\n")
    found = export("./a.sh", tmp_path)
    assert not found.needs and "module() { :; }; export -f module\n" in found.fields["run"]
    assert {"bwa", "samtools"} <= {*found.fields["setup"].split()}


def test_a_started_script_is_read(tmp_path: Path) -> None:
    for name, body in (
        ("plain.sh", "python -c 1"),
        ("calls.sh", "srun hostname"),
        ("reads.sh", "echo $SLURM_JOB_NAME"),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
    assert "translate what is Slurm's" not in export("bash plain.sh", tmp_path).yaml
    assert "translate what is Slurm's" in export("bash absent.sh", tmp_path).yaml
    assert [need.why for need in export("bash calls.sh", tmp_path).needs] == ["it calls srun"]
    assert "SLURM_JOB_NAME: job" in export("source reads.sh", tmp_path).yaml
