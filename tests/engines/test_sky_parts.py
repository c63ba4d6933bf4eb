"""Parts of the SkyPilot engine: shipment, returned files, and a node's environment."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sky_server import SkyServer

from slurmsky.agent.cloud import cloud_environment, program_main, submit_folder
from slurmsky.agent.net import endpoints
from slurmsky.engines.base import EngineError
from slurmsky.engines.files import folder_contents
from slurmsky.engines.files.output_sync import OutputSync
from slurmsky.engines.registry import Cloud
from slurmsky.engines.relay.head_connection import HeadUnreachable, Line, open_line
from slurmsky.engines.relay.proxy_socket import ProxySocket
from slurmsky.engines.relay.relay_client import keep_parked
from slurmsky.engines.sky.api import api_server
from slurmsky.engines.sky.head import certificates
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
def test_what_skyignore_names_stays(project, tmp_path, ignored, stays):
    (project / ".skyignore").write_text(ignored)
    folder_contents.archive(project, tmp_path / "a.tar", 1 << 20, Path("/home/me"), tmp_path / "state")
    everything = {"run.sh", "data", "data/big.bin", "notes.log", "link", "empty", ".skyignore"}
    assert names_in(tmp_path / "a.tar") == everything - stays


def test_keys_in_a_home_folder_do_not_travel(project, tmp_path):
    (project / ".ssh").mkdir()
    (project / ".ssh" / "id_rsa").write_text("secret")
    folder_contents.archive(project, tmp_path / "a.tar", 1 << 20, project, tmp_path / "state")
    assert not any(name.startswith(".ssh") for name in names_in(tmp_path / "a.tar"))


def test_a_folder_that_is_too_large_is_refused_with_a_way_out(project, tmp_path):
    with pytest.raises(EngineError, match=r"\.skyignore"):
        folder_contents.archive(project, tmp_path / "a.tar", 2000, Path("/home/me"), tmp_path / "state")


def test_nothing_secret_is_in_the_task(project, tmp_path):
    ship = shipment.pack(
        launch(project, environment={"WANDB_API_KEY": "s3cret"}),
        "job-s7-0",
        tmp_path / "state" / "7" / "run0" / "ship",
        tmp_path / "programs",
        upload_mib=10,
        return_mib=32,
        environment={},
    )
    assert "s3cret" not in str(ship.fields)
    for name in ("settings.json", "tls/node.key", "submit_folder.tar"):
        assert (ship.folder / name).stat().st_mode & 0o077 == 0


def test_only_a_jobs_own_certificates_open_its_doors(tmp_path):
    for name in ("mine", "other"):
        certificates.make(tmp_path / name, name)

    def contexts(name):
        return endpoints.tls_contexts(*(str(tmp_path / name / part) for part in ("node.crt", "node.key", "ca.crt")))

    async def connects(client):
        server = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=contexts("mine")[0])
        port = server.sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="x")
        except OSError:
            return False
        finally:
            server.close()
        try:
            return await reader.read(2) == b"hi"
        except OSError:
            return False
        finally:
            writer.close()

    async def hello(reader, writer):
        writer.write(b"hi")
        writer.close()

    assert asyncio.run(connects(contexts("mine")[1]))
    assert not asyncio.run(connects(contexts("other")[1]))


def test_lines_that_are_left_with_the_loop_are_closed(tmp_path):
    """A controller that exits has an idle connection to each job's node; a TLS shutdown would wait for each peer."""
    certificates.make(tmp_path / "tls", "job")

    async def welcomed(reader, writer):
        await reader.readline()
        writer.write(b"{}\n")
        await reader.read()
        writer.close()

    async def parked():
        own = [str(tmp_path / "tls" / part) for part in ("node.crt", "node.key", "ca.crt")]
        server = await asyncio.start_server(welcomed, "127.0.0.1", 0, ssl=endpoints.tls_contexts(*own)[0])
        port = server.sockets[0].getsockname()[1]
        opened = asyncio.Event()
        sockets = []

        async def open_one(hello):
            line = await open_line(f"127.0.0.1:{port}", tmp_path / "tls", hello)
            sockets.append(line[1].get_extra_info("socket"))
            opened.set()
            return line

        task = asyncio.ensure_future(keep_parked(open_one, tmp_path / "none"))
        await opened.wait()
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # as much as asyncio.run() leaves to what was begun
        server.close()
        return [left.fileno() for left in sockets]

    assert asyncio.run(parked()) == [-1]


def test_a_session_that_is_cancelled_before_it_reaches_the_controller_closes_its_connection(tmp_path, monkeypatch):
    aborted = []

    async def never(*_):
        await asyncio.Event().wait()

    async def cancelled():
        request = asyncio.StreamReader()
        request.feed_data(b"request")
        writer = SimpleNamespace(transport=SimpleNamespace(abort=lambda: aborted.append("request")))
        lines = [(request, writer)]

        async def open_one(hello):
            return lines.pop() if lines else await never()

        task = asyncio.ensure_future(keep_parked(open_one, tmp_path / "none"))
        while lines:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.01)

    monkeypatch.setattr(asyncio, "open_unix_connection", never)
    asyncio.run(cancelled())
    assert aborted == ["request"]


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


def test_appended_output_goes_behind_what_was_there(tmp_path):
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


def test_a_node_without_what_skypilot_added():
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


# --- packs and the choice of engine


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


CONFIG = """
# api_server: no
jobs:
  controller:
    endpoint: wrong
api_server:
  endpoint: "https://sky.example.org"   # ours
  service_account_token: sky_abc
admin_policy: x
"""


def test_the_servers_address_in_skypilots_config(tmp_path):
    (tmp_path / ".sky").mkdir()
    (tmp_path / ".sky" / "config.yaml").write_text(CONFIG)
    access = api_server.connect({"HOME": str(tmp_path)}, SITE, "me").access
    assert (access.endpoint, access.token) == ("https://sky.example.org", "sky_abc")


@pytest.mark.parametrize(
    "wanted, engine, used_before, enabled, answer",
    [
        ("", "auto", False, ["slurm"], "local"),
        ("", "auto", True, ["slurm"], "sky"),
        ("", "auto", True, [], "local"),
        ("", "local", True, ["slurm"], "local"),
        ("", "sky", False, [], "sky"),
        ("local", "sky", True, ["slurm"], "local"),
        ("sky", "local", False, [], "sky"),
        ("", "auto", True, None, "local"),
    ],
)
def test_which_engine(tmp_path, wanted, engine, used_before, enabled, answer):
    site = load(f'engine = "{engine}"', "site.toml")
    server = SkyServer()
    server.enabled = enabled or []
    if enabled is None:
        server.fault = lambda path: (503, "text/plain", b"restarting")

    async def ask():
        async with server:
            if used_before:
                (tmp_path / ".sky").mkdir()
                (tmp_path / ".sky" / "config.yaml").write_text(f"api_server:\n  endpoint: {server.endpoint}\n")
            cloud = Cloud({"HOME": str(tmp_path)}, site, "ada", tmp_path / "state", lambda _event: None)
            return await cloud.choose_engine(wanted, 10.0)

    assert asyncio.run(ask()).engine == answer


@pytest.mark.parametrize("setting", ["SLURMSKY_ENGINE", "nothing"])
def test_a_controller_of_this_machine_imports_nothing_of_skypilot(tmp_path: Path, setting: str) -> None:
    """SkyPilot's modules, HTTP and YAML would take a third of the time in which a controller starts."""
    code = """
import asyncio, sys
from pathlib import Path
import slurmsky.commands, slurmsky.controller.daemon
from slurmsky.engines.registry import Cloud
from slurmsky.site import load
cloud = Cloud({"HOME": sys.argv[1]}, load("", "site.toml"), "ada", Path(sys.argv[1]), print)
assert asyncio.run(cloud.choose_engine(sys.argv[2], 1.0)).engine == "local"
cloud.close()
heavy = ("httpx", "yaml", "http", "slurmsky.translate.explain", "slurmsky.engines.sky.api", "slurmsky.engines.nodes")
print(*sorted(set(heavy) & set(sys.modules)))
"""
    wanted = "local" if setting == "SLURMSKY_ENGINE" else ""
    result = subprocess.run([sys.executable, "-c", code, tmp_path, wanted], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("\n", "")


def test_a_proxy_socket_that_is_closed_while_it_opens_leaves_nothing_behind(tmp_path: Path) -> None:
    """A socket closed without the loop's knowledge would close the next connection with its descriptor number, too."""

    async def open_one(_hello: dict[str, object]) -> Line:
        raise HeadUnreachable("nobody is there")

    async def play() -> None:
        loop = asyncio.get_running_loop()
        watched = loop._selector.get_map()  # type: ignore[attr-defined]
        before = set(watched)
        opening = asyncio.ensure_future(ProxySocket(tmp_path / "door.sock", open_one, tmp_path / "none").open())
        while set(watched) == before:
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert set(watched) == before

    asyncio.run(play())
