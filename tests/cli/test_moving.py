"""slurmsky explain, translate and site through the launchers; module in a job and its steps."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from local_engine import LocalEngine

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("slurmsky explain", 2, "Usage: slurmsky explain", ""),
        ("slurmsky explain --engine=x a.sh", 1, "", "--engine is local or sky, not x"),
        ("slurmsky explain nosuch.sh", 1, "", "slurmsky: explain: nosuch.sh: No such file or directory"),
        ("slurmsky explain -p nowhere a.sh", 1, "sbatch: error: invalid partition specified: nowhere", ""),
        ("slurmsky explain -c9999 a.sh", 0, "would wait for ever (PartitionConfig)", ""),
        (
            "slurmsky explain page.html .",
            1,
            "",
            "slurmsky: explain: .: only options of sbatch precede a folder",
        ),
        ("slurmsky explain a.sh", 0, "runs unchanged", ""),
        ("slurmsky explain a.sh --json", 0, '"unchanged": true', ""),
        ("slurmsky explain --html .", 0, "<!doctype html>", ""),
        ("slurmsky explain .", 0, "1 of 1 scripts run unchanged (100 %)", ""),
        ("slurmsky explain --time=abc a.sh", 255, "", "sbatch: error: Invalid --time specification"),
        ("slurmsky explain --engine=sky --no-prices --nodes=2-1 a.sh", 255, "", "Maximum node count 1 is less than"),
        ("slurmsky explain --json bad.txt", 1, "This does not look like a batch script", ""),
        ("slurmsky explain empty", 1, "", "no batch scripts in empty"),
        ("slurmsky explain --engine=sky --no-prices a.sh", 0, "cpus: 2+", ""),
        ("X_TOKEN=x slurmsky explain --engine=sky --no-prices a.sh", 0, "not sent to the cloud: X_TOKEN (", ""),
        ("HOME=$PWD slurmsky explain --engine=sky --no-prices a.sh", 0, "submitted from your home folder: all", ""),
        ("slurmsky translate", 2, "Usage: slurmsky translate", ""),
        ("slurmsky translate nosuch.sh", 1, "", "slurmsky: translate: nosuch.sh: "),
        ("slurmsky translate a.sh", 0, "run: |\n  python train.py\n", ""),
        ("slurmsky translate bad.txt", 1, "", "sbatch: error: This does not look like a batch script."),
        ("slurmsky translate -o out.yaml a.sh && cat out.yaml", 0, "name: moved", ""),
        ("slurmsky translate chain.sh", 0, "name: chain\n---\n# a.sh, line 2\n", ""),
        ("slurmsky translate --serve a.sh", 1, "", "no server that --serve knows"),
        ("slurmsky site", 2, "Usage: slurmsky site", ""),
        ("slurmsky site check nosuch.toml", 1, "", "nosuch.toml: No such file"),
        ("slurmsky site check bad.toml", 1, "", "bad.toml:2:1: enginee is not known here. Did you mean engine?"),
        ("slurmsky site check laptop.toml", 0, "ok    all partitions are on this machine", ""),
        ("slurmsky site init -o a.sh", 1, "", "a.sh exists already"),
        ("printf 'old\\naws\\nL4\\nx,y\\n' | slurmsky site init", 0, 'name = "y"', ""),
    ],
)
def test_outputs_of_the_commands_for_scripts_and_sites(
    line: str, code: int, out: str, err: str, engine: LocalEngine, tmp_path: Path
) -> None:
    (tmp_path / "a.sh").write_text("#!/bin/bash\n#SBATCH -J moved -c2\nsrun python train.py\n")
    (tmp_path / "bad.txt").write_text("echo\n")
    (tmp_path / "chain.sh").write_text("#!/bin/bash\na=$(sbatch --parsable a.sh)\nsbatch -d afterok:$a a.sh\n")
    (tmp_path / "bad.toml").write_text('cluster = "x"\nenginee = "sky"\n')
    (tmp_path / "laptop.toml").write_text((EXAMPLES / "site" / "laptop.toml").read_text())
    (tmp_path / "empty").mkdir()
    done = engine.run(line, cwd=tmp_path)
    assert done.returncode == code, done
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("where", ["local", "sky"])
def test_files_beside_a_script_are_found_from_another_folder(where: str, engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.sh").write_text("#!/bin/bash\n#SBATCH -n1\nbash step.sh\nbash other.sh\n")
    (tmp_path / "p" / "step.sh").write_text("hostname\n")
    done = engine.run(f"slurmsky explain --json --no-prices --engine={where} p", cwd=tmp_path)
    found = json.loads(done.stdout)["scripts"][0]["findings"]
    assert [one["text"] for one in found if one["effect"] == "not here"] == ["other.sh"]


def test_a_script_for_the_agent_gets_its_folder(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "t.sh").write_text("#!/bin/bash\n#SBATCH -J ranks -n2\nsrun --multi-prog ranks.conf\n")
    done = engine.run("slurmsky translate -o ranks.yaml t.sh", cwd=tmp_path)
    assert done.returncode == 0, done
    folder = tmp_path / "ranks.slurmsky"
    settings = json.loads((folder / "job" / "settings.json").read_text())
    program = Path(settings["agent"]).name
    yaml = (tmp_path / "ranks.yaml").read_text()
    assert settings["files"]["archive"] == "~/sky_workdir" and "workdir: .  #" in yaml
    assert not (folder / "job" / "submit_folder.tar").exists()
    assert (folder / program).exists() and f"~/.slurmsky/{program}" in yaml
    assert (folder / "job" / "script").read_text() == (tmp_path / "t.sh").read_text()
    assert (folder.stat().st_mode & 0o077, (folder / "job" / "settings.json").stat().st_mode & 0o077) == (0, 0)
    assert engine.run("slurmsky translate -o ranks.yaml t.sh", cwd=tmp_path).returncode == 0  # again


@pytest.mark.parametrize("other", ["", ".netrc", "ignored.csv"])
def test_the_agents_yaml_has_a_workdir_that_sends_the_same_files(
    other: str, engine: LocalEngine, tmp_path: Path
) -> None:
    """SkyPilot's workdir would send keys, and would not send what git ignores."""
    (tmp_path / "t.sh").write_text("#!/bin/bash\n#SBATCH -J ranks -n2\nsrun --multi-prog ranks.conf\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("ignored.csv\n")
    if other:
        (tmp_path / other).write_text("x")
    for _ in range(2):  # the packed folder itself is not among the files
        done = engine.run(
            "slurmsky translate -o ranks.yaml t.sh", cwd=tmp_path, env={**engine.env, "HOME": str(tmp_path)}
        )
        assert done.returncode == 0, done
        yaml, job = (tmp_path / "ranks.yaml").read_text(), tmp_path / "ranks.slurmsky" / "job"
        archive = job / json.loads((job / "settings.json").read_text())["files"]["archive"]
        assert ("\nworkdir: .  #" in yaml, "# no workdir: ranks.slurmsky has" in yaml) == (not other, bool(other))
        if other:
            with tarfile.open(archive) as tar:
                names = tar.getnames()
            assert "t.sh" in names and (other in names) == (other == "ignored.csv")


def test_a_folder_gives_a_yaml_for_each_script(engine: LocalEngine, tmp_path: Path) -> None:
    scripts = tmp_path / "scripts" / "sub"
    scripts.mkdir(parents=True)
    (scripts.parent / "a.sh").write_text("#!/bin/bash\n#SBATCH -J same\npython train.py\n")
    (scripts / "b.sh").write_text("#!/bin/bash\n#SBATCH -J same -n2\nsrun --multi-prog ranks.conf\n")
    (scripts / "c.sh").write_text("#!/bin/bash\n#SBATCH --nosuch\n#SBATCH -N x\nhostname\n")
    done = engine.run("slurmsky translate scripts -o out", cwd=tmp_path)
    assert done.returncode == 1, done
    assert done.stdout.splitlines() == [
        "a.sh: out/a.sh.yaml: plain SkyPilot",
        "sub/b.sh: out/sub/b.sh.yaml: slurmsky runs the script on the nodes",
        'sub/c.sh: no YAML: sbatch: error: "x" is not a valid node count',
    ]
    assert "./b-sh.slurmsky/job" in (tmp_path / "out" / "sub" / "b.sh.yaml").read_text()
    assert (tmp_path / "out" / "sub" / "b-sh.slurmsky" / "job" / "settings.json").exists()
    assert "-o names the folder" in engine.run("slurmsky translate scripts", cwd=tmp_path).stderr


def test_module_in_a_job_and_its_steps(engine: LocalEngine, tmp_path: Path) -> None:
    text = "#!/bin/bash\nset -e\nmodule load gcc/12 nosuch\necho batch $LOADEDMODULES\n"
    text += "srun bash -c 'module load mkl; echo step $LOADEDMODULES'\n"
    (tmp_path / "m.sh").write_text(text)
    done = engine.run("sbatch -W -o out m.sh", cwd=tmp_path)
    out = (tmp_path / "out").read_text()
    assert done.returncode == 0, out
    assert "batch gcc/12\n" in out and "step gcc/12:mkl\n" in out
    assert out.count("nosuch is not known here") == 1


def test_hostile_directives_are_texts_to_every_command(engine: LocalEngine, tmp_path: Path) -> None:
    name = """a'b"c$(touch canary)`touch canary`;touch canary"""
    script = tmp_path / 'it\'s $(touch canary) \n"x".sh'
    script.write_text(
        "#!/bin/bash\n#SBATCH -o 'out-$(touch canary);%j'\n#SBATCH --comment='$(touch canary)'\n"
        "#SBATCH --mail-user='x;touch canary'\n#SBATCH --mail-type=ALL\n#SBATCH --wckey='`touch canary`'\n"
        'module load "$(printf %s gcc)"\necho "$SLURM_JOB_NAME"\n'
    )
    done = engine.run(["sbatch", "-W", f"--job-name={name}", str(script)], cwd=tmp_path)
    assert done.returncode == 0, done
    job = done.stdout.split()[-1]
    assert (tmp_path / f"out-$(touch canary);{job}").read_text() == name + "\n"
    for line in (
        ["squeue", "-t", "all", "-j", job, "-o", "%j|%k"], ["squeue", "-t", "all", "--json"],
        ["scontrol", "show", "job", job], ["scontrol", "write", "batch_script", job, "-"],
        ["sacct", "-j", job, "-o", "all", "-P"], ["seff", job], ["slurmsky", "explain", str(script)],
        ["slurmsky", "explain", "--html", "."], ["slurmsky", "translate", str(script)],
        ["slurmsky", "translate", f"--job-name={name}", "-o", "x'y.yaml", str(script)], ["slurmsky", "report", job],
        ["scancel", "-n", name],
    ):  # fmt: skip
        done = engine.run(line, cwd=tmp_path)
        assert "Traceback" not in done.stdout + done.stderr, done
    for field in ("--json", "-o%j"):
        assert engine.run(["squeue", "-t", "all", "-j", job, field], cwd=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.rglob("canary")] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/bash\n#SBATCH -J 'never\n", "Unmatched `'`"),
        ('#!/bin/bash\n#SBATCH -J "never\n', 'Unmatched `"`'),
        ("#!/bin/bash\n#SBATCH -J " + "x" * 1_000_000 + "\n", "Submitted"),
        ("#!/bin/bash\n#SBATCH --container-mounts=../..:/etc --container-image=/nonexistent\n", "Submitted"),
        ("#!/bin/bash\n#SBATCH -D ../../..\0\n", "NULL character"),
    ],
)
def test_hostile_scripts_are_accepted_or_refused(engine: LocalEngine, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "h.sh").write_text(text + "true\n")
    done = engine.run(["sbatch", "h.sh"], cwd=tmp_path)
    assert words in done.stdout + done.stderr
    assert engine.run("slurmsky explain h.sh", cwd=tmp_path).returncode == done.returncode
    there = engine.run("slurmsky explain --engine=sky --no-prices h.sh", cwd=tmp_path)
    assert there.returncode == ("refused" in there.stdout.splitlines()[0])
