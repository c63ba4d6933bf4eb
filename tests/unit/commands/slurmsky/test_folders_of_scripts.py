"""The batch scripts that slurmsky explain finds in a folder."""

from __future__ import annotations

from pathlib import Path

from slurmsky.commands.slurmsky.explain_command import scripts_in


def test_templates_and_modules_of_perl_are_no_batch_scripts(tmp_path: Path) -> None:
    for name in ("run.sh", "run.template.slurm", "run.sh.in", "run.sh.j2"):
        (tmp_path / name).write_text("#!/bin/bash\n#SBATCH -n 1\nhostname\n")
    (tmp_path / "Slurm.pm").write_text("package Slurm;\n#SBATCH -n 1\n")
    assert scripts_in(str(tmp_path)) == [str(tmp_path / "run.sh")]
