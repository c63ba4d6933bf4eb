"""Stored state of a run on a node; decision on the next launch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurmsky.agent.cloud import run_guard as module
from slurmsky.agent.cloud.job_log import JobLogWriter
from slurmsky.agent.cloud.run_guard import Earlier, RunDecision, RunGuard, decide
from slurmsky.protocol.log_frames import Decoder, Output
from slurmsky.protocol.messages import Ended, Event

KEY = b"key"
NO_USER = (1, 0)
CUT_OFF = Earlier(2, NO_USER, begun=True)
ENDED = Earlier(2, NO_USER, begun=True, code=5)
TAKEN = Earlier(2, NO_USER, begun=True, code=143, by_signal=True)


@pytest.mark.parametrize(
    "earlier, over, shipped, requeue, verdict, restart",
    [
        (None, False, 0, True, RunDecision.RUN, 0),
        (None, False, 3, False, RunDecision.RUN, 3),
        (Earlier(2, NO_USER), False, 2, False, RunDecision.RUN, 2),  # it ended before the script's start
        (CUT_OFF, False, 2, True, RunDecision.RUN, 3),
        (CUT_OFF, False, 0, True, RunDecision.RUN, 3),  # the node counted the restart, the controller has not yet
        (CUT_OFF, False, 2, False, RunDecision.REFUSE, 2),
        (CUT_OFF, False, 3, False, RunDecision.RUN, 3),  # decided by the controller
        (CUT_OFF, True, 2, True, RunDecision.REPEAT, 2),  # killed between its last event and the record of its end
        (ENDED, True, 2, False, RunDecision.REPEAT, 2),
        (ENDED, False, 2, True, RunDecision.REPEAT, 2),  # it reported that it could not begin
        (TAKEN, False, 2, True, RunDecision.RUN, 3),
        (TAKEN, False, 2, False, RunDecision.REFUSE, 2),
        (TAKEN, True, 2, True, RunDecision.REPEAT, 2),
    ],
)
def test_verdict_on_an_earlier_run(earlier, over, shipped, requeue, verdict, restart):
    assert decide(earlier, over, shipped, requeue) == (verdict, restart)


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / f"slurmsky-{os.geteuid()}-job-0")


HOLDER = """
import sys, time
from slurmsky.agent.cloud.job_log import JobLogWriter
from slurmsky.agent.cloud.run_guard import RunGuard
from slurmsky.protocol.messages import SessionBegun
once = RunGuard(sys.argv[1], b'key')
assert once.lock_node()
once.begin(0)
once.update_record(begun=True)
log = JobLogWriter(4, 0, b'key', once.store_frames)
log.event(SessionBegun())
log.write(log.encoder.data(0, b"one\\n"))
once.store_frames(b"torn")
print("ready", flush=True)
time.sleep(600)
"""


def test_one_process_locks_the_node_until_its_end(home):
    with subprocess.Popen([sys.executable, "-c", HOLDER, home], stdout=subprocess.PIPE) as holder:
        assert b"ready\n" in iter(holder.stdout.readline, b"")  # lines of its own log come first
        later, out = RunGuard(home, KEY), []
        assert not later.lock_node() and later.earlier().begun
        later.write_new(out.append)
        assert not any(b"torn" in piece for piece in out)
        later.take_over()
        assert holder.wait() == -signal.SIGTERM
    later.begin(1)
    log = JobLogWriter(5, 0, KEY, later.store_frames)
    log.write(log.encoder.data(0, b"two\n"))
    later.write_new(out.append)
    items = Decoder(KEY).feed(b"".join(out))
    assert [(item.session, item.data) for item in items if isinstance(item, Output)] == [(4, b"one\n"), (5, b"two\n")]
    assert [path.stat().st_mode & 0o777 for path in Path(later.folder).iterdir()] == [0o600] * 3
    assert Path(later.folder).stat().st_mode & 0o777 == 0o700


def test_stored_frames_contain_the_progress_of_a_run(home):
    once = RunGuard(home, KEY)
    assert once.lock_node() and once.replay().code([7]) == -1
    once.begin(0)
    once.update_record(begun=True)
    log = JobLogWriter(4, 0, KEY, once.store_frames)
    for body in (
        {"ev": "session"},
        {"ev": "ended", "job_id": 7, "state": "FAILED", "exit_code": 3},
        {"ev": "ended", "job_id": 8, "state": "CANCELLED", "by_signal": True},
    ):
        log.event(Event.decode(body))
    replay = once.replay()
    assert (replay.session, replay.seq, set(replay.ends)) == (4, 3, {7})
    assert replay.code([7]) == 3 and replay.code([7, 8]) == -1


def test_a_log_that_is_too_long_to_keep_does_not_stop_the_job(home, monkeypatch, capfdbinary):
    monkeypatch.setattr(module, "MOST_KEPT", 1000)
    once = RunGuard(home, KEY)
    assert once.lock_node()
    once.begin(0)
    log = JobLogWriter(4, 0, KEY, once.store_frames)
    for number in range(100):
        log.write(log.encoder.data(0, b"line %d\n" % number))
    assert once.earlier().cut and os.path.getsize(Path(once.folder) / "frames") <= 1000
    log.event(Ended(job_id=7, state="FAILED", exit_code=3))
    assert once.replay().code([7]) == 3
    assert b"line 99" in capfdbinary.readouterr().out


def test_a_folder_that_others_may_write_to_is_not_trusted(home):
    os.makedirs(home + ".kept")
    os.chmod(home + ".kept", 0o777)
    with pytest.raises(OSError, match="not ours alone"):
        RunGuard(home, KEY)


def test_runs_of_other_days_are_forgotten(home):
    old, busy, fresh = (RunGuard(f"{home}{name}", KEY) for name in ("-old", "-busy", "-fresh"))
    assert busy.lock_node()
    for other in (old, busy):
        os.utime(other.folder, (time.time() - 2 * module.FORGET_S,) * 2)
    once = RunGuard(home, KEY)
    assert once.lock_node()
    once.begin(0)
    assert [Path(other.folder).exists() for other in (old, busy, fresh)] == [False, True, True]
