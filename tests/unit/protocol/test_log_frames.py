"""The log channel delivers exact bytes once and in order despite SkyPilot's changes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.protocol.log_frames import Decoder, Encoder, LogEvent, Output, log_key

KEY = log_key(b"the job's secret")
PREFIXES = [b"\x1b[36m(e2, pid=15909)\x1b[0m ", b"\x1b[36m(worker1, rank=1, pid=7, ip=10.0.0.2)\x1b[0m ", b""]
NOISE = [
    b"Waiting for task resources on 2 nodes.",
    b"srun: error: n1: task 0: Exited with exit code 5",
    b"\x1b[0m\x1b[32m\xe2\x9c\x93 Job finished (status: SUCCEEDED).\x1b[0m",
    b"~slurmsky=1.1.1@",
    b"~slurmsky!{}",
    b"ERROR: Job 1 failed with return code list: [5]",
    b"plain text that is nobody's",
    b"",
]

# Bytes as jobs write them: text, progress bars, binary, long lines, no newline at the end.
pieces = st.one_of(
    st.text().map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"epoch 1 loss 0.5\n",
            b"\r 10%|#",
            b"\r\n",
            b"\n",
            b"\n\n",
            b"\x1b[32mok\x1b[0m\n",
            b"\xff\xfe\x00\n",
            "grüße 日本\n".encode(),
            b"x" * 5000 + b"\n",
            b"y" * 30000,
            b"~slurmsky=0.0.0@0=00000000=AA=\n",
            b"a\x1b[7355;1000;1000;1000;1001;1000;1000;1000m\n",
            b"bash: no job control in this shell\n",
            "\u2028\ufffd\n".encode(),
            b"trailing  \t \n",
        ]
    ),
)


def skypilot(log: bytes, prefix: bytes) -> bytes:
    """A node's output as a reader receives it: source skylet/log_lib.py, executor/slurm.py (text mode,
    errors=replace).
    """
    text = log.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in re.split(r"(?<=\n)", text) if line]
    kept = [
        line
        for line in lines
        if not any(
            word in line for word in ("bash: cannot set terminal process group", "bash: no job control in this shell")
        )
    ]
    return b"".join(prefix + line.encode() for line in kept)


def joined(items, **where):
    """All bytes of one stream, checked to be without gap or overlap."""
    out = b""
    for item in items:
        if isinstance(item, Output) and all(getattr(item, key) == value for key, value in where.items()):
            assert item.offset == len(out)
            out += item.data
    return out


@given(
    st.lists(st.tuples(st.integers(0, 2), pieces, st.booleans())),
    st.sampled_from(PREFIXES),
    st.integers(1, 4000),
    st.data(),
)
def test_bytes_survive_skypilots_log(writes, prefix, chunk, data):
    encoder = Encoder(session=17, rank=3, key=KEY)
    wanted = {0: b"", 1: b"", 2: b""}
    log, sent = b"", []
    for number, (stream, piece, flush) in enumerate(writes):
        wanted[stream] += piece
        log += encoder.data(stream, piece)
        if flush:
            log += encoder.flush(stream)
            sent.append({"n": number, "text": 'é\x7f\n"=~slurmsky!'})
            log += encoder.event(sent[-1])
    log += encoder.flush()
    shown = skypilot(log, prefix)
    # lines of others between ours
    lines = shown.split(b"\n")
    for at in data.draw(st.lists(st.integers(0, len(lines)), max_size=5)):
        lines.insert(at, data.draw(st.sampled_from(NOISE)))
    shown = b"\n".join(lines)
    # read in pieces, cut off and read again from the start, once or twice
    decoder, items = Decoder(KEY), []
    for cut in [*data.draw(st.lists(st.integers(0, len(shown)), max_size=2)), len(shown)]:
        decoder.reconnect()
        for start in range(0, cut, chunk):
            items += decoder.feed(shown[start : min(start + chunk, cut)])
    items += decoder.finish()
    for stream, expected in wanted.items():
        assert joined(items, session=17, rank=3, stream=stream) == expected
    assert [item.body for item in items if isinstance(item, LogEvent)] == sent
    assert not decoder.gaps


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_are_decoded_without_an_error(noise, times):
    decoder = Decoder(KEY)
    found = [item for _ in range(times) for item in decoder.feed(noise)] + decoder.finish()
    assert not any(isinstance(item, LogEvent) for item in found)


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1), st.randoms())
def test_lines_in_any_order_and_number(writes, random):
    encoder = Encoder(1, 0, KEY)
    lines = b"".join(encoder.data(0, piece) + encoder.flush() for piece in writes).splitlines(keepends=True)
    lines = lines + lines[: len(lines) // 2]
    random.shuffle(lines)
    decoder = Decoder(KEY)
    assert joined([item for line in lines for item in decoder.feed(line)]) == b"".join(writes)


def test_a_later_decoder_continues_where_an_earlier_one_was():
    encoder = Encoder(5, 0, KEY)
    first = encoder.data(0, b"one\n") + encoder.event({"ev": "a"})
    second = encoder.data(0, b"two\n") + encoder.event({"ev": "b"})
    decoder = Decoder(KEY)
    decoder.feed(first)
    later = Decoder(KEY, decoder.positions)
    assert later.feed(first + second) == [Output(5, 0, 0, 4, b"two\n"), LogEvent(5, 0, 1, {"ev": "b"})]


def test_sessions_and_ranks_do_not_mix():
    log = b"".join(
        Encoder(session, rank, KEY).data(0, b"%d/%d\n" % (session, rank)) for session in (1, 2) for rank in (0, 1)
    )
    items = Decoder(KEY).feed(log)
    assert [(item.session, item.rank, item.offset, item.data) for item in items] == [
        (session, rank, 0, b"%d/%d\n" % (session, rank)) for session in (1, 2) for rank in (0, 1)
    ]


@pytest.mark.parametrize(
    "line, plain",
    [
        (b"hello", True),
        (b"", True),
        ("grüße".encode(), True),
        (b"\x1b[31mred\x1b[0m", True),
        (b"a\tb", True),
        (b"50%\r100%", False),
        (b"nul\0", False),
        (b"\xff", False),
        (b"x" * 4001, False),
        (b"bash: no job control in this shell", False),
        ("\u2028".encode(), False),
    ],
)
def test_ordinary_text_stays_readable(line, plain):
    shown = Encoder(1, 0, KEY).data(0, line + b"\n")
    assert shown.startswith(line + b"\x1b[") is plain
    assert Decoder(KEY).feed(shown) == [Output(1, 0, 0, 0, line + b"\n")]


def test_a_gap_waits_for_the_replay():
    encoder = Encoder(1, 0, KEY)
    one, two, three = encoder.data(0, b"1\n"), encoder.data(0, b"2\n"), encoder.data(0, b"3\n")
    decoder = Decoder(KEY)
    assert len(decoder.feed(one + three)) == 1
    assert decoder.gaps
    decoder.reconnect()
    assert b"".join(item.data for item in decoder.feed(one + two + three)) == b"2\n3\n"
    assert not decoder.gaps


@given(st.data())
def test_a_line_that_another_nodes_lines_interrupt_is_joined(data):
    """SkyPilot writes the log of several nodes in blocks, if they end together."""
    head, other = Encoder(3, 0, KEY), Encoder(3, 1, KEY)
    lines = [
        head.data(1, b"a plain line\n"),
        head.data(1, b"\x00binary" * 200) + head.flush(1),
        head.event({"ev": "ended", "exit_code": 3, "text": "x" * 900}),
        head.event({"ev": "done"}),
    ]
    whole = [PREFIXES[0] + line for text in lines for line in text.splitlines(keepends=True)]
    number = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.integers(1, len(whole[number]) - 1))
    between = b"".join(PREFIXES[1] + other.event({"ev": "last", "n": n}) for n in range(data.draw(st.integers(1, 3))))
    whole[number] = whole[number][:cut] + between + whole[number][cut:]
    decoder = Decoder(KEY)
    items = decoder.feed(b"".join(whole)) + decoder.finish()
    assert [item.body["ev"] for item in items if isinstance(item, LogEvent) and item.rank == 0] == ["ended", "done"]
    assert b"".join(item.data for item in items if isinstance(item, Output)) == b"a plain line\n" + b"\x00binary" * 200
    assert not decoder.gaps
