"""srun's other work: --bcast, --prolog, --epilog, task prolog and epilog. Expected text was recorded
from the real srun (22.05)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import PATIENCE_S

from slurmsky.model.allocation import Launch

from .allocations import allocation
from .conftest import KINDS
from .driver import Cluster

SCRIPTS = {
    "pro": 'echo "pro $* [$SLURM_STEP_ID|$SLURM_NTASKS|$SLURM_SCRIPT_CONTEXT]"; exit ${CODE:-0}',
    "task_pro": 'echo "print from prolog $SLURM_PROCID"; echo "export TPV=set"; echo "unset GONE"; exit ${TPCODE:-0}',
    "task_epi": 'echo $SLURM_PROCID $SLURM_SCRIPT_CONTEXT "$PWD" > "$PLACE.$SLURM_PROCID"',
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Cluster]:
    """All tests also run on nodes that share nothing."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def job(two: Cluster) -> Iterator[tuple[Cluster, Launch]]:
    """salloc -N2, 2 and 1 CPUs, with the scripts in its folder."""
    for name, text in SCRIPTS.items():
        for node in two.nodes:
            path = two.outside(node, two.work / name)
            path.write_text("#!/bin/bash\n%s\n" % text)
            path.chmod(0o755)
    yield from allocation(two, (2, 1))


def run(job: tuple[Cluster, Launch], *argv: str, **env: str) -> tuple[str, str, int]:
    cluster, launch = job
    words = [word.replace("@", str(cluster.work)) for word in argv]
    done = subprocess.run(
        [*cluster.srun, *words],
        env={**cluster.client_environment(launch), **env},
        text=True,
        capture_output=True,
        cwd=cluster.work,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    error = re.sub(r"StepId=\d+\.\d+", "StepId=J.S", done.stderr).replace(str(cluster.work), "@")
    out = re.sub(r"\[\d+\|", "[S|", done.stdout).replace(str(cluster.work), "@")
    return out, re.sub(r"bcast_\d+\.\d+", "bcast_J.S", error), done.returncode


@pytest.mark.parametrize(
    ("argv", "env", "expected"),
    [
        (
            ("-n2", "-N1", "--prolog=@/pro", "--epilog=@/pro", "echo", "hi"),
            {},
            ("pro echo hi [S|2|prolog_srun]\nhi\nhi\npro echo hi [S|2|epilog_srun]\n", "", 0),
        ),
        (
            ("-n1", "-N1", "--epilog=@/pro", "echo", "hi"),
            {"CODE": "3"},
            ("hi\npro echo hi [S|1|epilog_srun]\n", "srun: error: srun epilog failed status=3\n", 0),
        ),
        (
            # 22.05 may have started the tasks before it sees the code; we wait for it.
            ("-n1", "-N1", "--prolog=@/pro", "echo", "hi"),
            {"CODE": "3"},
            (
                "pro echo hi [S|1|prolog_srun]\n",
                "srun: error: srun prolog failed rc = 3. Aborting step.\n"
                "srun: StepId=J.S aborted before step completely launched.\n",
                1,
            ),
        ),
        (
            ("-n1", "-N1", "--prolog=/nosuch", "--epilog=/nosuch", "echo", "hi"),
            {},
            ("hi\n", "srun: Access denied for /nosuch: No such file or directory\n" * 2, 0),
        ),
        (("-n1", "-N1", "--prolog=none", "echo", "hi"), {}, ("hi\n", "", 0)),
        (
            ("-n1", "-N1", "--task-prolog=@/task_pro", "bash", "-c", 'echo $TPV "$GONE"'),
            {"GONE": "1"},
            ("from prolog 0\nset \n", "", 0),
        ),
        (
            ("-n1", "-N1", "--task-prolog=@/task_pro", "echo", "hi"),
            {"TPCODE": "3"},
            (
                "from prolog 0\n",
                "slurmstepd-n1: error: --task-prolog failed status=3\n"
                "srun: error: n1: task 0: Exited with exit code 3\n",
                3,
            ),
        ),
        (
            ("-n1", "-N1", "--task-prolog=/nosuch", "echo", "hi"),
            {},
            (
                "",
                "slurmstepd-n1: error: run_command: user task_prolog can not be executed (/nosuch) No such file or "
                "directory\n"
                "slurmstepd-n1: error: user task_prolog did not exit normally. reason: Run command failed - "
                "configuration error\n"
                "slurmstepd-n1: error: --task-prolog failed status=1\n"
                "srun: error: n1: task 0: Exited with exit code 1\n",
                1,
            ),
        ),
        (
            ("-n1", "-N1", "--task-epilog=/nosuch", "echo", "hi"),
            {},
            (
                "hi\n",
                "slurmstepd-n1: error: Could not run user task_epilog [/nosuch]: access denied\n"
                "slurmstepd-n1: error: TaskEpilog failed status=-1\n",
                0,
            ),
        ),
        (
            ("-n1", "-N1", "--bcast=/proc/nonexist/x", "/usr/bin/true"),
            {},
            (
                "",
                "srun: error: REQUEST_FILE_BCAST(n1): No such file or directory\n"
                "srun: fatal: Failed to broadcast '/usr/bin/true'. Step launch aborted.\n",
                1,
            ),
        ),
        (("-n1", "-N1", "--bcast=/tmp/y", "nosuchprog"), {}, ("", "srun: fatal: Can not execute nosuchprog\n", 1)),
        (("-n1", "-N1", "--bcast=/tmp/y", "/nosuchprog"), {}, ("", "srun: fatal: Can not execute /nosuchprog\n", 1)),
    ],
)
def test_prolog_and_epilog_of_srun(
    job: tuple[Cluster, Launch], argv: tuple[str, ...], env: dict[str, str], expected: tuple[str, str, int]
) -> None:
    assert run(job, *argv, **env) == expected


def test_task_epilog_runs_for_each(job: tuple[Cluster, Launch], tmp_path: Path) -> None:
    place = str(tmp_path / "seen")
    assert run(job, "-n3", "--task-epilog=@/task_epi", "-D", str(tmp_path), "true", PLACE=place) == ("", "", 0)
    seen = [Path("%s.%d" % (place, rank)).read_text() for rank in range(3)]
    assert seen == ["%d epilog_task %s\n" % (rank, tmp_path) for rank in range(3)]


def test_broadcast_runs_the_copy(job: tuple[Cluster, Launch], tmp_path: Path) -> None:
    show = "readlink /proc/$$/exe; echo $LD_LIBRARY_PATH"
    place = tmp_path / "copy"
    out, err, code = run(job, "-n1", "-N1", "--bcast=%s" % place, "--send-libs", "/bin/bash", "-c", show + "; :")
    assert (out, err, code) == ("%s\n%s_libs\n" % (place, place), "", 0)
    original = os.stat("/bin/bash")
    assert (place.stat().st_size, int(place.stat().st_mtime)) == (original.st_size, int(original.st_mtime))
    # A second request replaces the first.
    assert run(job, "-n1", "-N1", "--bcast=%s" % place, "/bin/true") == ("", "", 0)
    assert place.stat().st_size == os.stat("/bin/true").st_size


def test_broadcast_expands_the_node_name(job: tuple[Cluster, Launch], tmp_path: Path) -> None:
    out, err, code = run(job, "-n2", "-N2", "-l", "--bcast=%s/" % tmp_path, "bash", "-c", "echo $0")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [re.sub(r"\d+\.\d+", "J.S", name) for name in names] == ["slurm_bcast_J.S_n1", "slurm_bcast_J.S_n2"]
    assert (sorted(out.splitlines()), err, code) == (
        ["%d: %s/%s" % (rank, tmp_path, name) for rank, name in enumerate(names)],
        "",
        0,
    )


def test_broadcast_sends_libraries(job: tuple[Cluster, Launch], tmp_path: Path) -> None:
    place = tmp_path / "copy"
    assert run(job, "-n1", "-N1", "--bcast=%s" % place, "--send-libs", "--bcast-exclude=NONE", "/bin/true") == (
        "",
        "",
        0,
    )
    assert any(name.startswith("libc.so") for name in os.listdir("%s_libs" % place))


SHOW = ("bash", "-c", "echo $0 $SLURM_PROCID $SLURM_NTASKS $SLURM_NODEID $SLURMD_NODENAME")


def test_components_on_the_nodes_of_a_plain_job(job: tuple[Cluster, Launch]) -> None:
    out, err, code = run(job, "-N1", "-n2", *SHOW, "A", ":", "-N1", "-n1", *SHOW, "B")
    assert (sorted(out.splitlines()), err, code) == (["A 0 3 0 n1", "A 1 3 0 n1", "B 2 3 1 n2"], "", 0)


def test_a_component_without_nodes_is_refused(job: tuple[Cluster, Launch]) -> None:
    assert run(job, "-N1", "-n1", "true", ":", "-N2", "-n2", "true") == (
        "",
        "srun: error: Allocation failure of 2 nodes: job size of 2, already allocated 1 nodes to previous "
        "components.\n",
        1,
    )


def test_verbose_prints_start_and_end_of_a_step(job: tuple[Cluster, Launch]) -> None:
    out, err, code = run(job, "-v", "-N2", "-n3", "bash", "-c", "exit $SLURM_NODEID")
    lines = [re.sub(r"jobid \d+:", "jobid J:", line) for line in err.splitlines()]
    assert lines[0] == "srun: defined options" and "srun: verbose             : 1" in lines
    assert (out, code) == ("", 1)
    known = lines[lines.index("srun: end of defined options") + 1 :]
    # The ends of two nodes may come in any order.
    assert known[:3] == [
        "srun: jobid J: nodes(2):`n[1-2]', cpu counts: 2(x1),1(x1)",
        "srun: launching StepId=J.S on host n1, 2 tasks: [0-1]",
        "srun: launching StepId=J.S on host n2, 1 tasks: 2",
    ]
    end = "srun: "
    assert sorted(known[3:]) == sorted(
        [
            end + "Received task exit notification for 2 tasks of StepId=J.S (status=0x0000).",
            end + "n1: tasks 0-1: Completed",
            end + "Received task exit notification for 1 task of StepId=J.S (status=0x0100).",
            "srun: error: n2: task 2: Exited with exit code 1",
        ]
    )
