# ruff: noqa: E501  (tables of lines as they are printed)
"""pyxis' options on this machine: the files, variables and signals of a task in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from local_engine import LocalEngine
from polling import PATIENCE_S, wait_for


def _namespaces() -> bool:
    kinds = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    return subprocess.run(["unshare", *kinds, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _namespaces(), reason="no namespaces may be made here")


def srun(engine: LocalEngine, root: Path, line: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The output of a bash line in the image."""
    return engine.run(["srun", f"--container-image={root}", *options, "bash", "-c", line], **more)  # type: ignore[arg-type]


def test_tasks_are_in_the_image(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(engine, rootfs, "cat /inside; pwd; echo $SLURM_NTASKS $SLURM_PROCID $FROM_IMAGE $PATH; ls /home 2>&1")
    assert done.stdout.splitlines()[:3] == ["this is the image", "/", "1 0 yes /bin"]
    assert "No such file" in done.stdout


def test_stdin_and_exit_code(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(engine, rootfs, "cat; exit 7", stdin="some input\n")
    assert (done.returncode, done.stdout) == (7, "some input\n")
    assert "srun: error: n1: task 0: Exited with exit code 7" in done.stderr


def test_a_signal_is_reported_as_without_a_container(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(engine, rootfs, "kill -SEGV $$")
    assert done.returncode == 139
    assert "task 0: Segmentation fault" in done.stderr


def test_every_node_and_rank(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(
        engine, rootfs, "echo $SLURM_PROCID $SLURMD_NODENAME; cat /inside", "-N2", "-n4", "--ntasks-per-node=2", "-l"
    )
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{rank}: {text}" for rank in range(4) for text in (f"{rank} n{rank // 2 + 1}", "this is the image")
    )


def test_a_container_sees_the_gpus(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(engine, rootfs, "echo $CUDA_VISIBLE_DEVICES; ls -d /dev/null", "--gpus=2")
    assert done.stdout == "0,1\n/dev/null\n"


def test_tasks_of_a_node_share_the_container_and_the_image_stays(engine: LocalEngine, rootfs: Path) -> None:
    line = "touch /made.$SLURM_PROCID; while [ ! -e /made.0 ] || [ ! -e /made.1 ]; do sleep 0.05; done; echo both"
    done = srun(engine, rootfs, line, "-n2", "-N1")
    assert done.stdout == "both\nboth\n"
    assert not list(rootfs.glob("made.*"))


def test_mounts(engine: LocalEngine, rootfs: Path) -> None:
    data = engine.root / "data"
    data.mkdir(exist_ok=True)
    (data / "file").write_text("content\n")
    mounts = f"{data}:/in:ro,{data}/file:/etc/copy,./data:/out,tmpfs:/scratch"
    line = "cat /in/file /etc/copy; touch /in/new; touch /out/new /scratch/x; ls /scratch"
    done = srun(engine, rootfs, line, f"--container-mounts={mounts}", "--container-workdir=/out")
    assert done.stdout == "content\ncontent\nx\n"
    assert "Read-only file system" in done.stderr
    assert (data / "new").exists()


def test_links_in_an_image_resolve_within_the_image(engine: LocalEngine, tmp_path: Path, rootfs: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(rootfs, image, symlinks=True)
    # Not in /tmp, which a container shares with its node.
    outside = Path(tempfile.mkdtemp(dir="/var/tmp"))
    (image / "trap").symlink_to(outside)
    (image / "up").symlink_to("../../../../../../../.." + str(outside))
    done = srun(engine, image, "ls /trap/ /up/", f"--container-mounts={rootfs}:/trap/a,{rootfs}:/up/b")
    assert done.returncode == 0, done.stderr
    outside.rmdir()  # which works for empty folders only


def test_the_images_settings_apply_unless_overridden(engine: LocalEngine, rootfs: Path) -> None:
    ask = "echo $SHARED $MINE"
    own = {"SHARED": "mine", "MINE": "mine"}
    assert engine.run(["srun", f"--container-image={rootfs}", "bash", "-c", ask], env=own).stdout == "image mine\n"
    done = engine.run(["srun", f"--container-image={rootfs}", "--container-env=SHARED", "bash", "-c", ask], env=own)
    assert done.stdout == "mine mine\n"


def test_readonly_and_workdir(engine: LocalEngine, rootfs: Path) -> None:
    done = srun(engine, rootfs, "pwd; touch /x", "--container-readonly", "--container-workdir=/etc")
    assert done.stdout == "/etc\n"
    assert "Read-only file system" in done.stderr
    done = srun(engine, rootfs, "pwd", "--container-workdir=/nowhere")
    assert done.returncode == 1
    assert "slurmstepd-n1: error: couldn't chdir to /nowhere: No such file or directory" in done.stderr


def test_home_is_mounted_when_requested(engine: LocalEngine, rootfs: Path) -> None:
    home = engine.root / "home"
    home.mkdir(exist_ok=True)
    (home / "mine").touch()
    line = ["bash", "-c", "ls $HOME"]
    with_home = ["srun", f"--container-image={rootfs}", "--container-mount-home", *line]
    assert engine.run(with_home, env={"HOME": str(home)}).stdout == "mine\n"


def test_a_named_container_is_kept(engine: LocalEngine, rootfs: Path) -> None:
    assert srun(engine, rootfs, "touch /kept", "--container-name=box").returncode == 0
    done = engine.run(["srun", "--container-name=box", "ls", "/kept", "/inside"])
    assert done.stdout == "/inside\n/kept\n"
    done = srun(engine, rootfs, "true", "--container-name=box:create")
    assert "but the container already exists" in done.stderr
    done = engine.run(["srun", "--container-name=unknown", "true"])
    assert done.returncode == 1
    assert "slurmstepd-n1: error: pyxis:     there is no container named unknown on this node" in done.stderr
    assert "slurmstepd-n1: error: Failed to invoke spank plugin stack" in done.stderr


def test_a_batch_script_in_a_container_and_its_steps(engine: LocalEngine, rootfs: Path) -> None:
    script = engine.root / "job.sh"
    script.write_text(
        f"#!/bin/bash\n#SBATCH --container-image={rootfs} --container-workdir=/etc -o job.out\n"
        "cat /inside; pwd; echo $SLURM_JOB_ID $FROM_IMAGE >&2; exit 5\n"
    )
    done = engine.run(["sbatch", "-W", str(script)])
    assert done.returncode == 5
    number = done.stdout.split()[-1]
    assert (engine.root / "job.out").read_text() == f"this is the image\n/etc\n{number} yes\n"


def test_steps_of_salloc_inherit(engine: LocalEngine, rootfs: Path) -> None:
    done = engine.run(["salloc", f"--container-image={rootfs}", "srun", "cat", "/inside"])
    assert done.stdout == "this is the image\n"


def test_a_cancelled_container_leaves_no_process_and_no_mount(engine: LocalEngine, rootfs: Path) -> None:
    script = engine.root / "long.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH -o long.out\necho up\nsrun --container-image={rootfs} sleep 321\n")
    number = engine.run(["sbatch", "--parsable", str(script)]).stdout.strip()
    wait_for(lambda: engine.run(["squeue", "-s", "-h", "-j", number, "-o", "%i"]).stdout.count(".0"))
    wait_for(lambda: _sleepers("321"))
    engine.run(["scancel", number])
    wait_for(lambda: not _sleepers("321"))
    wait_for(lambda: "CANCELLED" in engine.run(["sacct", "-nXo", "state", "-j", number]).stdout)
    running = engine.home / "containers/running"
    wait_for(lambda: not list(running.iterdir()))


def _sleepers(argument: str) -> list[str]:
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{entry}/cmdline").read_bytes().endswith(f"/sleep\0{argument}\0".encode()):
                found.append(entry)
        except OSError:
            continue
    return found


def test_an_image_that_cannot_be_imported(engine: LocalEngine) -> None:
    empty = engine.root / "empty"
    empty.mkdir(exist_ok=True)
    for name in ("env", "sh", "python3"):
        path = shutil.which(name)
        if path and not (empty / name).exists():
            (empty / name).symlink_to(path)
    path = f"{Path(engine.env['PATH'].split(':')[0])}:{empty}"
    done = engine.run(["srun", "--container-image=nvcr.io#nvidia/pytorch:24.01-py3", "true"], env={"PATH": path})
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "slurmstepd-n1: error: pyxis: failed to import docker image",
        "slurmstepd-n1: error: pyxis:     there is no podman, docker or apptainer on this node to fetch "
        "nvcr.io/nvidia/pytorch:24.01-py3",
        "slurmstepd-n1: error: Failed to invoke spank plugin stack",
        "srun: error: n1: task 0: Exited with exit code 1",
    ]
    done = engine.run(["srun", "--container-image=/nowhere.sqsh", "true"])
    assert "slurmstepd-n1: error: pyxis:     /nowhere.sqsh: No such file or directory" in done.stderr


def test_a_batch_script_whose_image_cannot_be_imported(engine: LocalEngine) -> None:
    line = ["sbatch", "-W", "-o", "none.out", "--container-image=./nowhere.sqsh", "--wrap", "true"]
    assert engine.run(line).returncode == 1
    assert (
        (engine.root / "none.out")
        .read_text()
        .startswith("slurmstepd-n1: error: pyxis: failed to import docker image\n")
    )


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (["--container-mounts=a:b"], ['pyxis: mount source must be a relative path, an absolute path, "tmpfs" or "umount"',
          "pyxis: could not add mount entry: a:b", "Invalid --container-mounts argument: a:b"]),
        (["--container-mounts=/a::"], ["pyxis: --container-mounts: invalid format: /a::",
          "Invalid --container-mounts argument: /a::"]),
        (["--container-mounts=/a:b"], ["pyxis: mount target must be a relative path or an absolute path",
          "pyxis: could not add mount entry: /a:b", "Invalid --container-mounts argument: /a:b"]),
        (["--container-name=:create"], ["pyxis: --container-name: empty name", "Invalid --container-name argument: :create"]),
        (["--container-name=../../etc"], ["pyxis: --container-name: invalid name: ../../etc",
          "Invalid --container-name argument: ../../etc"]),
        (["--container-env=A,,B"], ["pyxis: --container-env: invalid format: A,,B",
          "Invalid --container-env argument: A,,B"]),
        (["--container-image="], ["pyxis: --container-image: argument required", "Invalid --container-image argument: "]),
    ],
)  # fmt: skip
def test_refusals_of_pyxis(engine: LocalEngine, options: list[str], lines: list[str]) -> None:
    for command in (["srun", *options, "true"], ["sbatch", *options, "--wrap", "true"]):
        done = engine.run(command)
        assert done.returncode == 255
        assert done.stderr.splitlines() == [f"{command[0]}: error: {line}" for line in lines]


def test_options_without_a_container_are_reported(engine: LocalEngine) -> None:
    done = engine.run(["srun", "--container-mounts=/a:/b", "echo", "ran"])
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr == (
        "srun: error: pyxis: ignoring --container-mounts because neither --container-image nor --container-name is set\n"
    )


@pytest.fixture(scope="session")
def podman_image(engine: LocalEngine, rootfs: Path) -> str:
    """The same files as a podman image, with the image's own settings."""
    if shutil.which("podman") is None:
        pytest.skip("needs podman")
    name = "localhost/tiny:1"
    archive = engine.root / "image.tar"
    subprocess.run(["tar", "-C", rootfs, "-cf", archive, "."], check=True)
    changes = ["ENV=FROM_CONFIG=yes", "WORKDIR=/etc", 'ENTRYPOINT=["/bin/env","ENTERED=yes"]']
    line = ["podman", "import", *(word for change in changes for word in ("-c", change)), str(archive), name]
    done = engine.run(line, limit_s=PATIENCE_S)
    if done.returncode:
        pytest.skip(f"podman cannot keep an image here: {done.stderr[-300:]}")
    return name


def test_an_image_of_podman(engine: LocalEngine, podman_image: str) -> None:
    line = "cat /inside; pwd; echo $FROM_CONFIG$ENTERED"
    done = engine.run(["srun", "--container-image=localhost#tiny:1", "bash", "-c", line], limit_s=PATIENCE_S)
    assert done.stdout == "this is the image\n/etc\nyes\n"
    assert done.stderr == "pyxis: creating container filesystem: localhost/tiny:1\n"
    done = engine.run(
        ["srun", f"--container-image=docker://{podman_image}", "--container-entrypoint", "bash", "-c", line]
    )
    assert (done.stdout, done.stderr) == ("this is the image\n/etc\nyesyes\n", "")  # kept: no progress is printed again
