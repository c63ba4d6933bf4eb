"""Which files of the submit host a job's log can write."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from slurmsky.engines.files.output_sync import OutputSync, matched, resolved
from slurmsky.engines.sky.job_log.job_watch import _FORMER_FIELDS, JobWatch, Member, Record
from slurmsky.protocol.log_frames import Encoder, Output, log_key
from slurmsky.protocol.messages import FileBegun, JobEvent, LastRecord, StreamOpened


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with keys in it."""
    folder = tmp_path / "me"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "authorized_keys").write_text("mine\n")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def writes(sync: OutputSync, path: Path | str, data: bytes = b"theirs\n", **event: object) -> bool:
    """Return whether a node can write to this path by a stream."""
    sync.open_stream("1.0.0", StreamOpened(stream=0, path=str(path), **event))
    sync.output("1.0.0", Output(1, 0, 0, 0, data))
    return Path(path).is_file() and Path(path).read_bytes() == data


def brings_back(sync: OutputSync, path: str, data: bytes = b"theirs\n", mode: int = 0o644) -> None:
    digest = hashlib.sha256(data).hexdigest()
    begun = FileBegun(stream=9, path=path, size=len(data), mode=mode, mtime=1e9, sha256=digest)
    sync.begin_file("1.0.9", begun)
    sync.output("1.0.9", Output(1, 0, 9, 0, data))
    sync.end_file("1.0.9")


def of_job(folder: Path, project: Path, *outputs: Path) -> OutputSync:
    outputs = {str(path): resolved(str(path)) for path in outputs}
    return OutputSync(folder / "in", str(project), {}, 7, 0o027, {}, outputs)


def test_files_that_the_job_names_are_written(tmp_path, home):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir(), elsewhere.mkdir()
    out = elsewhere / "out.%N.log"
    assert writes(of_job(tmp_path, project, out), elsewhere / "out.n1.log")
    assert (elsewhere / "out.n1.log").stat().st_mode & 0o777 == 0o640
    assert writes(of_job(tmp_path, project), project / "step.out", step=True)


@pytest.mark.parametrize(
    "path",
    ["me/.ssh/authorized_keys", "elsewhere/out", "project/../elsewhere/out", "elsewhere/x.n/1.log", "project"],
)
def test_no_other_file_is_written(tmp_path, home, path):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir(), elsewhere.mkdir()
    sync = of_job(tmp_path, project, elsewhere / "x.%N.log")
    assert not writes(sync, tmp_path / path)
    assert sync.messages and list(elsewhere.iterdir()) == []
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["link", "folder/authorized_keys"])
@pytest.mark.parametrize("step", [True, False])
def test_a_link_is_not_followed(tmp_path, home, name, step):
    """A link created after the job's preparation is not followed, even for an output file."""
    project = tmp_path / "project"
    project.mkdir()
    sync = of_job(tmp_path, project, *([] if step else [project / name]))
    (project / "link").symlink_to(home / ".ssh" / "authorized_keys")
    (project / "folder").symlink_to(home / ".ssh")
    assert not writes(sync, project / name, step=step)
    brings_back(sync, name)
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine\n"
    assert sync.messages


def test_the_users_own_link_leads_where_it_led_at_submission(tmp_path, home):
    (tmp_path / "project").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "project" / "logs").symlink_to(tmp_path / "scratch")
    named = tmp_path / "project" / "logs" / "out"
    sync = of_job(tmp_path, tmp_path / "project", named)
    (tmp_path / "project" / "logs").unlink()
    (tmp_path / "project" / "logs").symlink_to(home / ".ssh")
    writes(sync, named)
    assert (tmp_path / "scratch" / "out").read_bytes() == b"theirs\n"


@pytest.mark.parametrize("path", [".ssh/authorized_keys", ".ssh/new", ".netrc", ".config/gcloud/x", "sub/keys/new"])
def test_private_files_are_not_returned(tmp_path, home, path):
    (home / "sub").mkdir()
    (home / "sub" / "keys").symlink_to(home / ".ssh")
    sync = of_job(tmp_path, home)
    brings_back(sync, path)
    assert not writes(sync, home / path)
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine\n"
    assert not (home / ".ssh" / "new").exists() and not (home / ".netrc").exists()


def test_a_fifo_does_not_block_the_controller(tmp_path, home):
    os.mkfifo(tmp_path / "pipe")
    sync = of_job(tmp_path, tmp_path, tmp_path / "pipe")
    writes(sync, tmp_path / "pipe")
    assert "could not be written" in sync.messages[0]


def test_returned_files_have_no_set_uid_bit(tmp_path, home):
    (tmp_path / "project").mkdir()
    brings_back(of_job(tmp_path, tmp_path / "project"), "a/b/tool", mode=0o4755)
    assert (tmp_path / "project" / "a" / "b" / "tool").stat().st_mode & 0o7777 == 0o755


def test_bytes_beyond_the_announced_size_are_dropped(tmp_path, home):
    sync = of_job(tmp_path, tmp_path)
    sync.begin_file("1.0.9", FileBegun(stream=9, path="x", size=3, mode=0o600, mtime=0, sha256=""))
    sync.output("1.0.9", Output(1, 0, 9, 0, b"x" * 10))
    assert not (tmp_path / "in" / "in-1.0.9").read_bytes()


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_our_own_streams_are_no_output_of_a_job(path):
    assert resolved(path) == ""


def test_one_node_in_all_places_of_a_name():
    assert matched("/a/n1/b-n1", "/a/%N/b-%N", "/real/%N/b-%N") == "/real/n1/b-n1"
    assert not matched("/a/n1/b-n2", "/a/%N/b-%N", "/real/%N/b-%N")
    assert not matched("/a/../b-..", "/a/%N/b-%N", "/real/%N/b-%N")


def test_a_forged_end_is_not_reported(tmp_path, home):
    """Frames with another key in a job's log are discarded."""
    (tmp_path / "project").mkdir()
    secret = os.urandom(32)
    record = Record(7, "job-s7-0", submit_dir=str(tmp_path / "project"), secret=secret.hex(), members={"7": Member()})
    record.write(tmp_path / "run")
    reported: list[JobEvent] = []
    watch = JobWatch.load(tmp_path / "run", reported.append)
    watch.save_soon = lambda: None
    begin = {"ev": "session", "session": 17, "ranks": 1}
    end = {"ev": "ended", "job_id": 7, "state": "COMPLETED", "exit_code": 0, "seq": 3}
    stream = {"ev": "stream", "stream": 0, "path": str(home / ".ssh" / "authorized_keys")}
    for key in (b"", b"x" * 32, log_key(b""), log_key(os.urandom(32)), secret):
        forger = Encoder(17, 0, key)
        watch.feed(forger.event(begin) + forger.event(stream) + forger.data(0, b"mine now\n") + forger.event(end))
    assert reported == [] and record.session == -1
    node = Encoder(17, 0, log_key(secret))
    watch.feed(node.event(begin) + node.event(stream) + node.data(0, b"mine now\n") + node.event(end))
    assert [event.encode()["state"] for event in reported] == ["COMPLETED"]
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine\n"


@pytest.mark.parametrize("lost", [False, True])
def test_the_end_of_a_job_names_nodes_that_were_lost_with_files(tmp_path, home, lost):
    """The log has ended without the last line of the second node."""
    (tmp_path / "project").mkdir()
    record = Record(7, "job-s7-0", submit_dir=str(tmp_path / "project"), secret="ab", members={"7": Member()})
    record.write(tmp_path / "run")
    reported: list[JobEvent] = []
    watch = JobWatch.load(tmp_path / "run", reported.append)
    watch.save_soon = lambda: None
    head, other = (Encoder(17, rank, log_key(b"\xab")) for rank in (0, 1))
    watch.feed(head.event({"ev": "session", "session": 17, "ranks": 2}))
    watch.feed(head.event({"ev": "ended", "job_id": 7, "state": "COMPLETED", "exit_code": 0, "seq": 3}))
    watch.feed(head.event({"ev": "done", "ranks": [0, 1]}))
    assert reported == [] and not watch.done
    if lost:
        assert watch.report_held_ends()
    else:
        watch.feed(other.event(LastRecord().encode()))
    assert [event.encode()["state"] for event in reported] == ["COMPLETED"]
    text = "node 1 of the job was lost with the files that the job wrote there"
    assert watch.output_sync.messages == [text] * lost


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    """Runs continue after an update, with their earlier requests and files."""
    Record(7, "job-s7-0", delivered=["1.0.2"], sync_state={"files": {}}, batch_folder="/b").write(tmp_path)
    text = (tmp_path / "record.json").read_text()
    for former, name in _FORMER_FIELDS.items():
        text = text.replace(f'"{name}":', f'"{former}":')
    (tmp_path / "record.json").write_text(text)
    assert "letters" in text
    record = JobWatch.load(tmp_path, lambda event: None).record
    assert (record.delivered, record.sync_state, record.batch_folder) == (["1.0.2"], {"files": {}}, "/b")
