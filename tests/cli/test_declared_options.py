"""Options that a site declares, as SPANK plugins of the old cluster added them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_engine import LocalEngine, local_engine

SITE = """
[[node]]
names = "n1"
cpus = 4
[[partition]]
name = "debug"
default = true
[[option]]
name = "image"
argument = "required"
policy = "environment"
environment = "SHIFTER_IMAGE"
[[option]]
name = "ccm"
policy = "environment"
environment = "CCM"
[[option]]
name = "note"
argument = "required"
"""
SHOW = "sh -c 'echo $SHIFTER_IMAGE,$CCM'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    site = tmp_path_factory.mktemp("site") / "site.toml"
    site.write_text(SITE)
    with local_engine(Path(site), SLURMSKY_ENGINE="local") as engine:
        yield engine


def test_a_batch_job_and_its_steps_have_the_variables(cluster: LocalEngine) -> None:
    """A step's own option takes precedence over the job's."""
    script = f"{SHOW}; srun {SHOW}; srun --image=b --note=x {SHOW}; srun --export=PATH {SHOW}"
    cluster.run(["sbatch", "--image=a", "--ccm", "-oimage.out", "--wait", "--wrap", script])
    assert (cluster.root / "image.out").read_text() == "a,1\na,1\nb,1\na,1\n"


@pytest.mark.parametrize(
    "command", ["srun --image=a --ccm", "salloc -Q --image=a --ccm", "salloc -Q --ccm srun --image=a"]
)
def test_an_allocation_has_the_variables(cluster: LocalEngine, command: str) -> None:
    done = cluster.run(f"{command} {SHOW}")
    assert (done.stdout, done.stderr, done.returncode) == ("a,1\n", "", 0)


def test_an_undeclared_option_is_refused(cluster: LocalEngine) -> None:
    done = cluster.run(f"salloc -Q srun --other=a {SHOW}")
    assert "srun: unrecognized option '--other=a'\n" in done.stderr
