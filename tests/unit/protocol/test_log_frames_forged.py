"""Forged, replayed, cut and shifted lines in a job's log change nothing.

`python tests/unit/protocol/test_log_frames_forged.py 1000000` runs the fuzz with any number of lines.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator

import pytest

from slurmsky.protocol.log_frames import Decoder, Encoder, LogEvent, Output, log_key

KEY = log_key(b"this job's secret")
OTHER = log_key(b"another job's secret")
END = {"ev": "ended", "job_id": 7, "state": "COMPLETED", "exit_code": 0}
STREAM = {"ev": "stream", "stream": 0, "path": "/home/me/.ssh/authorized_keys"}


def job_log(key: bytes = KEY, session: int = 17, rank: int = 0) -> list[bytes]:
    """Authentic lines of a job, of every kind."""
    encoder = Encoder(session, rank, key)
    log = encoder.event({"ev": "session", "session": session})
    log += encoder.event({"ev": "stream", "stream": 0, "path": "/home/me/slurm-7.out"})
    for number in range(40):
        log += encoder.data(0, b"epoch %d loss 0.%d\n" % (number, number))
        log += encoder.data(1, bytes(range(number, number + 90)))
    log += encoder.flush() + encoder.event({**END, "state": "FAILED", "exit_code": 3})
    return log.splitlines(keepends=True)


def all_of(items: list[Output | LogEvent]) -> tuple[dict[int, bytes], list[object]]:
    """Bytes by stream, and the events."""
    streams: dict[int, bytes] = {}
    for item in items:
        if isinstance(item, Output):
            assert item.offset == len(streams.get(item.stream, b""))
            streams[item.stream] = streams.get(item.stream, b"") + item.data
    return streams, [item.body for item in items if isinstance(item, LogEvent)]


def altered(rng: random.Random, line: bytes) -> bytes:
    """A line that differs from an authentic one in some bytes."""
    kind = rng.randrange(6)
    if kind == 0:  # cut
        return line[: rng.randrange(len(line))] + b"\n"
    if kind == 1:  # a number of its place is another one
        digits = list(re.finditer(rb"\d+", line))
        found = rng.choice(digits)
        return line[: found.start()] + b"%d" % rng.randrange(9000) + line[found.end() :]
    if kind == 2:  # a byte
        at = rng.randrange(len(line))
        return line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
    if kind == 3:  # two lines in one another
        at = rng.randrange(len(line))
        return line[:at] + line
    if kind == 4:  # something lost
        at = rng.randrange(len(line))
        return line[:at] + line[at + rng.randrange(1, 9) :]
    return line.rstrip(b"\n") + rng.randbytes(rng.randrange(40)) + b"\n"


def forged(rng: random.Random, honest: list[bytes]) -> bytes:
    """A line without the key, or a line of the job at another position."""
    kind = rng.randrange(8)
    if kind < 3:
        return altered(rng, rng.choice(honest))
    if kind == 3:  # a replay
        return rng.choice(honest)
    if kind == 4:  # of another job of the same user, run and node
        return rng.choice(job_log_of_another)
    if kind == 5:
        body = rng.choice((END, STREAM))
        text = Encoder(17, 0, rng.randbytes(32), seq=rng.randrange(60)).event(body)
        return text
    if kind == 6:
        return Encoder(17, 0, b"").data(rng.randrange(3), rng.randbytes(rng.randrange(50)) + b"\n")
    return rng.choice((b"~slurmsky!", b"~slurmsky=", b"\x1b[7355;")) + rng.randbytes(rng.randrange(80)) + b"\n"


job_log_of_another = job_log(OTHER)


def fuzz(count: int, seed: int) -> Iterator[int]:
    """Read authentic logs with ``count`` forged lines in between; yields the number of lines read."""
    rng = random.Random(seed)
    honest = job_log()
    wanted = all_of(Decoder(KEY).feed(b"".join(honest)))
    done = 0
    while done < count:
        decoder, items = Decoder(KEY), []
        for line in honest:
            number = rng.randrange(50)
            items += decoder.feed(b"".join(forged(rng, honest) for _ in range(number)))
            if not rng.randrange(40):
                decoder.reconnect()
            items += decoder.feed(b"\n" + line)
            done += number
        # What came early by a replay is complete; nothing is left over, nothing was added.
        assert all_of(items) == wanted
        assert not decoder.gaps
        yield done


def test_forged_lines_change_nothing():
    for _ in fuzz(20_000, 11):
        pass


@pytest.mark.parametrize("rank, session", [(0, 18), (1, 17)])
def test_a_line_of_another_run_or_node_is_of_that_one_alone(rank, session):
    items = Decoder(KEY).feed(b"".join(job_log(KEY, session, rank)))
    assert {(item.session, item.rank) for item in items} == {(session, rank)}


def test_each_kind_of_line_is_authenticated_as_that_kind():
    encoder = Encoder(17, 0, KEY)
    line = encoder.data(0, b"text\n")
    mark = re.search(rb"\x1b\[7355;(.*)m", line)[1]
    tag = 0
    for digit in mark.split(b";")[4:8]:
        tag = tag * 9000 + int(digit) - 1000
    frame = b"~slurmsky=17.0.0@0=%016x=dGV4dA==\n" % tag
    event = b'~slurmsky!17.0.0.4=%016x={"a\n' % tag
    assert Decoder(KEY).feed(frame + event) == []


def test_numbers_of_any_length_are_read():
    for number in (b"9" * 20, b"9" * 5000):
        frame = b"~slurmsky=%b.0.0@%b=%b=AAAA=\n" % (number, number, b"0" * 16)
        log = frame + b"~slurmsky!1.1.%b.2=%b={}=\n" % (number, b"0" * 16)
        assert Decoder(KEY).feed(log + b"\x1b[7355" + b";9999" * 5000 + b"m\n") == []


def seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_a_log_without_line_ends_costs_linear_time():
    def read(count: int) -> None:
        decoder = Decoder(KEY)
        for _ in range(count):
            decoder.feed(b"x" * 4096)
        decoder.finish()

    read(100)
    assert seconds(lambda: read(20_000)) < 40 * max(seconds(lambda: read(2_000)), 0.01)


def test_a_lost_line_costs_linear_time():
    """All later lines are buffered until the next replay."""
    lines = [Encoder(1, 0, KEY).data(0, b"first\n")]
    encoder = Encoder(1, 0, KEY)
    lines = [encoder.data(0, b"line %d\n" % number) for number in range(20_000)]

    def read(count: int) -> None:
        decoder = Decoder(KEY)
        decoder.feed(b"".join(lines[1:count]))
        assert decoder.gaps
        decoder.feed(lines[0])
        assert not decoder.gaps

    assert seconds(lambda: read(20_000)) < 40 * max(seconds(lambda: read(2_000)), 0.01)


if __name__ == "__main__":
    started, total = time.monotonic(), int(sys.argv[1])
    done = max(fuzz(total, int(time.time())))
    print(f"{done} forged lines in {time.monotonic() - started:.0f} s: none was believed")
