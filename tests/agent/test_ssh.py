"""``ssh $node`` between a cloud job's nodes, with real sshds.

Nodes have network, mount, host name and process namespaces of their own. They are made as root: sshd changes to its own
user, whom a user namespace does not know.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from slurmsky.agent.cloud import ssh_names
from slurmsky.engines.sky.launch import shipment
from slurmsky.model.allocation import Launch, NodeShare
from slurmsky.model.spec import JobSpec
from slurmsky.protocol.log_frames import Decoder, LogEvent, Output, log_key

from .apart import _WORLD, _Space, possible

#: sky/templates/kubernetes-ray.yml.j2, setup_commands
SKYPILOTS_CONFIG = """Host *
  StrictHostKeyChecking no
  IdentityFile ~/.ssh/id_ed25519
  IdentityFile ~/.ssh/id_ecdsa
  IdentityFile ~/.ssh/id_rsa
  IdentityFile ~/.ssh/sky-cluster-key
"""


# --- the file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ssh").mkdir()
    (tmp_path / "ssh" / "sky-cluster-key").write_text("key")
    return tmp_path / "ssh"


@pytest.mark.parametrize(
    "before", [None, SKYPILOTS_CONFIG, "User me\nHost far\n  Port 7\n", "# no newline", "\udcff\n"]
)
def test_the_users_lines_of_the_ssh_config_remain(folder: Path, tmp_path: Path, before: str | None) -> None:
    config = folder / "config"
    if before is not None:
        config.write_text(before, errors="surrogateescape")
        config.chmod(0o640)
    for home in ("one", "two"):
        (tmp_path / home).mkdir()
    for home, names in (("one", ["a"]), ("two", ["b", "c"]), ("two", ["b", "c"])):
        assert ssh_names.add(str(folder), str(tmp_path / home), names, "/nowhere")
    text = config.read_text(errors="surrogateescape")
    assert text.count("Host b c\n") == text.count("Host a\n") == 1 and text.endswith(before or "end\n")
    ssh_names.remove(str(folder), str(tmp_path / "one"))
    text = config.read_text(errors="surrogateescape")
    assert "Host a\n" not in text and "Host b c\n" in text
    ssh_names.remove(str(folder), str(tmp_path / "two"))
    if before is None:
        assert not config.exists()
    else:
        assert config.read_text(errors="surrogateescape") == before
        assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert set(os.listdir(folder)) <= {"config", "sky-cluster-key"}


def test_without_skypilots_key_no_ssh_config_is_written(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("User me\n")
    assert not ssh_names.add(str(tmp_path), "/home", ["a"])
    assert os.listdir(tmp_path) == ["config"] and (tmp_path / "config").read_text() == "User me\n"


def test_a_linked_ssh_config_remains_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfile").write_text("User me\n")
    (folder / "config").symlink_to(tmp_path / "dotfile")
    assert ssh_names.add(str(folder), "/gone", ["a"], "/nowhere")
    assert (folder / "config").is_symlink() and "Host a\n" in (tmp_path / "dotfile").read_text()


# --- the thing

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH')}:/usr/sbin:/sbin")
NET = "10.177.0."
#: host name, its own .ssh, its own /etc/ssh, its own /etc/hosts, last number of its address, start.sh
NODE = f"""
hostname "$0" && mkdir -p /root/.ssh && mount --bind "$1" /root/.ssh && mount --bind "$2" /etc/ssh || exit 1
mount --bind "$3" /etc/hosts && mount -t tmpfs tmpfs /run && mkdir /run/sshd && ip link set lo up || exit 1
echo ready; read plugged
ip addr add {NET}$4/24 dev eth0 && ip link set eth0 up || exit 1
/usr/sbin/sshd -E "$2/log" || exit 1
exec sh "$5" < /dev/null
"""
SCRIPT = """#!/bin/bash
for node in $(scontrol show hostnames); do ssh $node hostname; done
ssh $(scontrol show hostnames | tail -1) 'echo $SSH_CONNECTION' | cut -d' ' -f3,4
srun -N1 -n1 -r1 sh -c 'ssh $(scontrol show hostnames | head -1) hostname'
echo | ssh -o BatchMode=yes $(scontrol show hostnames | tail -1) cat
ssh nowhere true 2> /dev/null || echo own settings
"""


def node_files(base: Path, number: int, port: int) -> list[str]:
    """Create a node's files (SkyPilot's key and config, sshd's settings, a hosts file); returns their paths."""
    ssh, server = base / f"ssh{number}", base / f"etc{number}"
    ssh.mkdir(mode=0o700)
    server.mkdir()
    shutil.copy(base / "key", ssh / "sky-cluster-key")
    shutil.copy(base / "key.pub", ssh / "authorized_keys")
    (ssh / "config").write_text("Host nowhere\n  ProxyCommand false\n" + SKYPILOTS_CONFIG)
    # The address was another machine's before.
    stranger = (base / "stranger.pub").read_text()
    (ssh / "known_hosts").write_text("".join(f"{NET}{node},[{NET}{node}]:10022 {stranger}" for node in (1, 2)))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", server / "hostkey"], check=True)
    settings = "Port {}\nHostKey /etc/ssh/hostkey\nPermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\n"
    (server / "sshd_config").write_text(settings.format(port) + "StrictModes no\n")
    (base / f"hosts{number}").write_text("127.0.0.1 localhost\n")
    return [str(ssh), str(server), str(base / f"hosts{number}")]


def ship(base: Path) -> str:
    """Create a job's folder as on a node; returns its start.sh."""
    project = base / "project"
    project.mkdir()
    (base / "script").write_text(SCRIPT)
    launch = Launch(
        job_id=7, name="job", user="root", uid=0, gid=0, group="root", account="", partition="debug", qos="normal",
        cluster="c", spec=JobSpec(job_name="job", nodes_min=2), ntasks=2,
        shares=[NodeShare(f"?{rank}", cpu_ids=(0,), tasks=1) for rank in range(2)], submit_dir=str(project),
        submit_host="laptop", work_dir=str(project), spool="/nowhere", script=str(base / "script"),
        stdout=str(project / "out"), stderr=str(project / "err"),
        environment={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(base / "user")},
    )  # fmt: skip
    name = f"ssh-{uuid.uuid4().hex[:12]}"  # a second run of the same name would be replayed, not started
    state = base / "state" / "7"
    contents = shipment.ShipmentContents(launch, name, upload_mib=10, return_mib=10, environment={}, request_ids=(1, 1))
    made = shipment.pack(contents, state / "ship", base / "programs")
    remote = base / "remote"
    shutil.copytree(made.folder, remote / name)
    shutil.copy(made.program, remote)
    return str(remote / name / "start.sh")


def streams_of(log: bytes, start: str) -> dict[str, str]:
    """Name of each output file of the job -> its content."""
    settings = json.loads(Path(start).with_name("settings.json").read_text())
    key = log_key(bytes.fromhex(settings["letters"]["key"]))
    names, found = {}, {}
    for item in Decoder(key).feed(log):
        if isinstance(item, LogEvent) and item.body["ev"] == "stream":
            names[item.stream if isinstance(item, Output) else item.body["stream"]] = Path(item.body["path"]).name
        elif isinstance(item, Output) and item.rank == 0:
            found[item.stream] = found.get(item.stream, b"") + item.data
    return {name: found.get(number, b"").decode() for number, name in names.items()}


@pytest.mark.slow
@pytest.mark.skipif(not (SSHD or os.environ.get("SLURMSKY_CI")), reason="needs sshd (openssh-server)")
@pytest.mark.skipif(os.geteuid() != 0 or not possible(), reason="needs root, and namespaces")
@pytest.mark.parametrize("port", [22, 10022], ids=["machine", "container"])
def test_ssh_by_the_names_of_the_node_list(tmp_path: Path, port: int) -> None:
    """ssh has no prompt and an empty stderr.

    This also holds if a container's sshd listens on another port.
    """
    for name in ("key", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    start = ship(tmp_path)
    world = _Space(["unshare", "-mn", "sh", "-c", _WORLD])
    into = ["nsenter", "-t", str(world.process.pid), "-m", "-n", "--"]
    logs = [b"", b""]
    nodes: list[subprocess.Popen[bytes]] = []
    readers: list[threading.Thread] = []
    kept = []

    def read(rank: int) -> None:
        logs[rank] = nodes[rank].communicate()[0]

    try:
        for rank in range(2):
            files = node_files(tmp_path, rank + 1, port)
            kept.append(((Path(files[0]) / "config"), (Path(files[0]) / "config").read_text()))
            environment = {
                "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/root", "SKYPILOT_NODE_RANK": str(rank),
                "SKYPILOT_NODE_IPS": f"{NET}1\n{NET}2", "SKYPILOT_INTERNAL_JOB_ID": "1",
                "SKYPILOT_NUM_NODES": "2", "TMPDIR": str(tmp_path / f"tmp{rank}"),
            }  # fmt: skip
            (tmp_path / f"tmp{rank}").mkdir()
            nodes.append(subprocess.Popen(
                [*into, "unshare", "-mnpui", "--fork", "--kill-child", "--mount-proc", "sh", "-c", NODE,
                 f"machine{rank + 1}", *files, str(rank + 1), start],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE))  # fmt: skip
            stdout, stdin = nodes[rank].stdout, nodes[rank].stdin
            assert stdout is not None and stdin is not None and stdout.readline() == b"ready\n"
            wire = f"ip link add v{rank} master br0 up type veth peer name eth0 netns {nodes[rank].pid}"
            subprocess.run([*into, "sh", "-c", wire], check=True)
            stdin.write(b"plugged\n")
        readers = [threading.Thread(target=read, args=(rank,)) for rank in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(200)
        assert [node.returncode for node in nodes] == [0, 0], logs
    finally:
        for node in nodes:
            node.kill()
        for reader in readers:
            reader.join()
        world.process.kill()
        world.process.communicate()
    streams = streams_of(logs[0], start)
    assert streams["out"].splitlines() == [
        "machine1", "machine2", f"{NET}2 {port}", "machine1", "", "own settings"
    ], (streams, logs)  # fmt: skip
    assert streams["err"] == ""
    for config, text in kept:
        assert config.read_text() == text
