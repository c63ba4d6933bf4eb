"""What scontrol's administrators' verbs do, and what they say of bad words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

FAILURE = "callerid failure: Unspecified error\n"
SITE = Path(__file__).resolve().parent.parent / "oracle" / "site.toml"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("schedloglevel 3", 1, "invalid schedlog level: 3\n"),
        ("schedloglevel enable", 0, ""),
        ("setdebugflags +Backfill -Steps", 0, ""),
        ("setdebugflags +foo", 1, "invalid debug flag: +foo\n"),
        ("setdebug nosuch", 1, "invalid debug level: nosuch\n"),
        ("fsdampeningfactor 0", 1, "invalid dampening factor: 0\n"),
        ("write foo", 1, "invalid write argument:foo\n"),
        ("write config a b", 1, "too many arguments for keyword:write\n"),
        ("token foo=3", 1, "Invalid option: `foo=3`\n"),
        ("callerid 1.2.3.4 5", 1, "too few arguments for keyword:callerid\n"),
        ("callerid ::1 5 ::1 6 5", 1, f"scontrol: error: Invalid address family: 5\n{FAILURE}"),
        ("callerid x 5 ::1 6", 1, f"scontrol: error: inet_pton failed for 'x'\n{FAILURE}"),
        ("listjobs", 1, "No slurmstepd's found on this node\n"),
    ],
)
def test_words(engine: LocalEngine, words: str, code: int, said: str) -> None:
    done = engine.run(["scontrol", *words.split()])
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_the_configuration_is_written(engine: LocalEngine) -> None:
    done = engine.run(["scontrol", "write", "config", "conf"])
    (made,) = engine.root.glob("conf.20*T*")
    assert (done.returncode, done.stdout) == (0, f"Slurm config saved to {made.name}\n")
    text = made.read_text()
    assert "\nClusterName=" in text and "\nPartitionName=debug Nodes=n1," in text and text.count("\nNodeName=n") == 4
    assert made.stat().st_mode & 0o777 == 0o600


def test_cpus_as_a_range(engine: LocalEngine) -> None:
    job = engine.run(["sbatch", "-H", "-n2", "--parsable", "--wrap=true"]).stdout.strip()

    def update(word: str) -> tuple[int, str]:
        done = engine.run(["scontrol", "update", f"jobid={job}", word])
        return done.returncode, done.stderr

    assert update("NumCPUs=2-4") == (0, "")
    assert " NumCPUs=2-4 " in engine.run(["scontrol", "show", "job", job]).stdout
    assert update("NumCPUs=3") == (0, "")
    assert " NumCPUs=3-4 " in engine.run(["scontrol", "show", "job", job]).stdout
    assert update("NumCPUs=4-2") == (1, "scontrol: error: Invalid NumCPUs value: 4-2\n")
    assert update("SiteFactor=5") == (0, "")
    assert update("SiteFactor=99999999999") == (
        1, "scontrol: error: SiteFactor value out of range (+/- 2147483645). Value ignored\n")  # fmt: skip
    engine.run(["scancel", job])


def test_reconfigure_reads_the_site_file(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    shutil.copy(SITE, site)
    with local_engine(site) as engine:
        job = engine.run(["sbatch", "-H", "--parsable", "--wrap=true"]).stdout.strip()
        assert "standby" not in engine.run(["sinfo"]).stdout
        site.write_text(SITE.read_text() + '\n[[partition]]\nname = "standby"\nnodes = "n4"\n')
        assert engine.run(["scontrol", "reconfigure"]).returncode == 0
        # The controller leaves once this is answered; the next command waits for it to be gone.
        for _ in range(50):
            if "standby" in engine.run(["sinfo"]).stdout:
                break
        assert "standby" in engine.run(["sinfo"]).stdout
        assert engine.run(["squeue", "-h", "-o%i"]).stdout.strip() == job
        site.write_text("nodes = 3\n[")
        done = engine.run(["scontrol", "reconfigure"])
        assert done.returncode == 1 and done.stderr.startswith("slurm_reconfigure error: ")
        assert engine.run(["sinfo"]).returncode == 0
        site.write_text(SITE.read_text())
