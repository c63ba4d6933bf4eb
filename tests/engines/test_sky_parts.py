"""Parts of the SkyPilot engine: shipment, returned files, and a node's environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from slurmsky.agent.cloud import cloud_environment, program_main, submit_folder
from slurmsky.engines.base import EngineError
from slurmsky.engines.files import folder_contents
from slurmsky.engines.files.output_sync import OutputSync
from slurmsky.engines.sky.launch import array_packs, node_program, shipment
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol.log_frames import Output
from slurmsky.protocol.messages import FileBegun, StreamOpened
from slurmsky.site import load
from slurmsky.translate.sky_task.task import plan

SITE = load('[[partition]]\nname="debug"\ndefault=true\n[gpus]\ndefault="H100"', "site.toml")


def launch(folder: Path, **more) -> Launch:
    fields = {
        "job_id": 7, "name": "job", "user": "me", "uid": 1, "gid": 1, "group": "me", "account": "",
        "partition": "debug", "qos": "normal", "cluster": "c", "spec": JobSpec(), "ntasks": 1,
        "shares": [NodeShare("?", cpu_ids=(0,))], "submit_dir": str(folder), "submit_host": "h",
        "work_dir": str(folder), "spool": "/x", "environment": {"HOME": "/home/me"},
    }  # fmt: skip
    return Launch(**{**fields, **more})


# --- shipment


def test_the_program_is_the_same_file_for_the_same_content(tmp_path, monkeypatch):
    entries = list(node_program._entries())
    monkeypatch.setattr(node_program, "_entries", lambda: iter(entries))
    one, two = node_program.build(tmp_path / "a"), node_program.build(tmp_path / "b")
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
    names = zipfile.ZipFile(one).namelist()
    assert {
        "__main__.py",
        "slurmsky/agent/__main__.py",
        "slurmsky/grammar/hostlist.lark",
        "lark/__init__.py",
    } <= set(names)
    assert not any(name.startswith(("slurmsky/controller", "slurmsky/commands", "slurmsky/engines")) for name in names)


def test_the_program_needs_nothing_but_the_standard_library(tmp_path):
    program = node_program.build(tmp_path)
    check = f"import sys; sys.path[:] = [{str(program)!r}] + [p for p in sys.path if 'site-packages' not in p]; "
    check += "import slurmsky.agent.cloud.node_main, slurmsky.agent.__main__, slurmsky.agent.srun.srun_request; "
    check += "import slurmsky.report"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_program_is_unpacked_once_and_runs_from_its_archive_where_it_cannot_be(tmp_path):
    program = node_program.build(tmp_path)
    say = [sys.executable, "-c", "import sys; from slurmsky.agent.cloud.program_install import LIBRARY; print(LIBRARY)"]
    for library in (program_main.unpacked(str(program)), str(program)):
        env = {"PYTHONPATH": library}
        done = subprocess.run(say, capture_output=True, text=True, check=True, env=env, cwd="/")
        assert done.stdout == f"{library}\n"
    assert program_main.unpacked(str(program)) == str(program.with_suffix(""))
    assert sorted(path.name for path in tmp_path.iterdir()) == [program.stem, program.name]
    assert program_main.unpacked("/proc/agent.pyz") == "/proc/agent.pyz"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "data" / "big.bin").write_bytes(b"x" * 3000)
    (folder / "notes.log").write_text("log\n")
    (folder / "link").symlink_to("run.sh")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


def names_in(archive: Path) -> set[str]:
    with tarfile.open(archive) as tar:
        return set(tar.getnames())


def test_a_folder_is_copied_with_its_links_and_modes(project, tmp_path):
    manifest = folder_contents.archive(project, tmp_path / "a.tar", 1 << 20, Path("/home/me"), tmp_path / "state")
    assert set(manifest) == {"run.sh", "data/big.bin", "notes.log"}
    assert names_in(tmp_path / "a.tar") == {"run.sh", "data", "data/big.bin", "notes.log", "link", "empty"}
    submit_folder.unpack(str(tmp_path / "a.tar"), str(tmp_path / "there"))
    assert os.readlink(tmp_path / "there" / "link") == "run.sh"
    assert (tmp_path / "there" / "run.sh").stat().st_mode & 0o777 == 0o755
    # What arrives counts as unchanged.
    assert submit_folder.scan(str(tmp_path / "there")).keys() == manifest.keys()


def test_a_workdir_is_the_content_of_a_submit_folder(tmp_path: Path) -> None:
    (tmp_path / "workdir" / "sub").mkdir(parents=True)
    (tmp_path / "workdir" / "sub" / "a.py").write_text("1")
    (tmp_path / "there").mkdir()
    submit_folder.unpack(str(tmp_path / "workdir"), str(tmp_path / "there"))
    assert (tmp_path / "there" / "sub" / "a.py").read_text() == "1"


@pytest.mark.parametrize(
    "ignored, stays",
    [
        ("*.log\n", {"notes.log"}),
        ("data/\n# a comment\n", {"data", "data/big.bin"}),
        ("/data/*.bin", {"data/big.bin"}),
    ],
)
def test_files_that_skyignore_names_are_not_sent(project, tmp_path, ignored, stays):
    (project / ".skyignore").write_text(ignored)
    folder_contents.archive(project, tmp_path / "a.tar", 1 << 20, Path("/home/me"), tmp_path / "state")
    everything = {"run.sh", "data", "data/big.bin", "notes.log", "link", "empty", ".skyignore"}
    assert names_in(tmp_path / "a.tar") == everything - stays


def test_keys_in_a_home_folder_are_not_sent(project, tmp_path):
    (project / ".ssh").mkdir()
    (project / ".ssh" / "id_rsa").write_text("secret")
    folder_contents.archive(project, tmp_path / "a.tar", 1 << 20, project, tmp_path / "state")
    assert not any(name.startswith(".ssh") for name in names_in(tmp_path / "a.tar"))


def test_a_folder_that_is_too_large_is_refused_with_a_remedy(project, tmp_path):
    with pytest.raises(EngineError, match=r"\.skyignore"):
        folder_contents.archive(project, tmp_path / "a.tar", 2000, Path("/home/me"), tmp_path / "state")


def test_nothing_secret_is_in_the_task(project, tmp_path):
    job = launch(project, environment={"WANDB_API_KEY": "s3cret"})
    contents = shipment.ShipmentContents(job, "job-s7-0", upload_mib=10, return_mib=32, environment={})
    ship = shipment.pack(contents, tmp_path / "state" / "7" / "run0" / "ship", tmp_path / "programs")
    assert "s3cret" not in str(ship.fields)
    for name in ("settings.json", "tls/node.key", "submit_folder.tar"):
        assert (ship.folder / name).stat().st_mode & 0o077 == 0


# --- returned files


def returned(returns: OutputSync, path: str, data: bytes, key: str = "1.0.9") -> None:
    digest = hashlib.sha256(data).hexdigest()
    returns.begin_file(key, FileBegun(stream=9, path=path, size=len(data), mode=0o644, mtime=1e9, sha256=digest))
    returns.output(key, Output(1, 0, 9, 0, data))
    returns.end_file(key)


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "out/evil"])
def test_a_node_cannot_write_outside_of_the_submit_folder(tmp_path, path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "out").symlink_to(tmp_path)
    returns = OutputSync(tmp_path / "in", str(project), {}, 7, 0o022, {})
    returned(returns, path, b"data")
    assert not (tmp_path / "evil").exists() and returns.messages


def test_appended_output_follows_the_existing_content(tmp_path):
    out = tmp_path / "out"
    out.write_text("before\n")
    returns = OutputSync(tmp_path / "in", str(tmp_path), {}, 7, 0o022, {})
    for _ in range(2):  # a replay changes nothing
        returns.open_stream("1.0.0", StreamOpened(stream=0, path=str(out), append=True))
        returns.output("1.0.0", Output(1, 0, 0, 0, b"one\n"))
        returns.output("1.0.0", Output(1, 0, 0, 4, b"two\n"))
    assert out.read_text() == "before\none\ntwo\n"


# --- a node's environment

SEEN = {
    "HOME": "/root/.sky_clusters/x", "PATH": "/root/.sky_clusters/x/sky-user-env/bin:/opt/cuda/bin:/usr/bin",
    "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "99", "SLURMD_NODENAME": "n1", "VIRTUAL_ENV": "/x", "PS1": "$",
    "SKYPILOT_NODE_RANK": "0", "CUDA_VISIBLE_DEVICES": "2,3", "LD_LIBRARY_PATH": "/opt/cuda/lib",
}  # fmt: skip


def test_a_nodes_environment_lacks_skypilots_variables():
    env = cloud_environment.node_environment(SEEN, "/home/cloud")
    assert env["HOME"] == "/home/cloud" and env["PATH"].startswith("/opt/cuda/bin:/usr/bin")
    assert "sky-user-env" not in env["PATH"] and env["LD_LIBRARY_PATH"] == "/opt/cuda/lib"
    assert not set(env) & {"OMP_NUM_THREADS", "SLURM_JOB_ID", "SLURMD_NODENAME", "VIRTUAL_ENV", "PS1"}


@pytest.mark.parametrize(
    "user, same, expected",
    [
        ({"FOO": "1", "PATH": "/mine:/gone", "OMP_NUM_THREADS": "4"}, False,
         {"FOO": "1", "PATH": "/mine:/usr/bin", "OMP_NUM_THREADS": "4", "HOME": "/home/me"}),
        ({"CUDA_VISIBLE_DEVICES": "0", "DISPLAY": ":0", "XDG_RUNTIME_DIR": "/run/1"}, False,
         {"CUDA_VISIBLE_DEVICES": "2,3", "DISPLAY": None, "XDG_RUNTIME_DIR": None}),
        ({"PATH": "/mine:/gone", "HOME": "/home/me"}, True, {"PATH": "/mine:/gone", "HOME": "/home/me"}),
        ({}, False, {"PATH": None, "SKYPILOT_NODE_RANK": "0"}),
    ],
)  # fmt: skip
def test_a_jobs_environment_on_a_node(user, same, expected):
    node = {
        "PATH": "/usr/bin",
        "HOME": "/home/cloud",
        "SKYPILOT_NODE_RANK": "0",
        "CUDA_VISIBLE_DEVICES": "2,3",
    }
    env = cloud_environment.job_environment(user, node, same, "/home/me", lambda path: path != "/gone")
    assert {name: env.get(name) for name in expected} == expected


# --- packs


@pytest.mark.parametrize(
    "count, spec, nodes, slots",
    [
        (20, {}, 3, [7, 7, 6]),
        (4, {"cpus_per_task": 8}, 4, [1, 1, 1, 1]),
        (100, {}, 4, [8, 8, 8, 8]),
        (100, {"array": "0-99%4"}, 1, [4]),
        (8, {"gpus": "2"}, 2, [4, 4]),
        (5000, {"array": "0-4999%1"}, 3, [1, 1, 1]),
    ],
)
def test_how_an_array_is_split(tmp_path, count, spec, nodes, slots):
    whole = JobSpec(**{"array": f"0-{count - 1}", **spec})
    elements = [launch(tmp_path, spec=whole, job_id=index, array_task_id=index) for index in range(count)]
    parts = list(array_packs.split(elements, plan(whole, SITE, "debug"), None, SITE))
    assert len(parts) == nodes and [part[1] for part in parts] == slots
    assert sorted(element.job_id for part, _ in parts for element in part) == list(range(count))
