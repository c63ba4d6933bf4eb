"""The frame codec: the same frames for pieces of any size; only WireError for invalid bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.protocol import wire

frames = st.lists(st.tuples(st.sampled_from([b"O", b"E", b"X", b"J"]), st.binary(max_size=300)), max_size=8)
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(str)
names = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1)


@given(frames, st.lists(st.integers(1, 400), max_size=20))
def test_frames_survive_any_cut(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(kind, payload) for kind, payload in sent)
    reader, got = wire.FrameReader(), []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        got += list(reader.feed(piece))
    got += list(reader.feed(stream))
    assert got == sent


@given(st.lists(st.binary(max_size=50)))
def test_lists_round_trip(fields: list[bytes]) -> None:
    assert wire.decode_list(wire.encode_list(fields)) == fields


@given(st.binary(max_size=80))
def test_nonsense_is_a_wire_error(payload: bytes) -> None:
    for decode in (wire.decode_list, wire.CommandRequest.from_payload):
        try:
            found = decode(payload)
        except wire.WireError:
            continue  # the one error that they may raise
        assert isinstance(found, (list, wire.CommandRequest))


@given(
    args=st.lists(text).map(tuple),
    env=st.dictionaries(names, text),
    umask=st.integers(0, 0o777),
    winsize=st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
)
def test_requests_round_trip(
    args: tuple[str, ...], env: dict[str, str], umask: int, winsize: tuple[int, int] | None
) -> None:
    request = wire.CommandRequest("sbatch", args, "/tmp/\udcff", umask, (True, False, True), winsize, 7, env)
    assert wire.CommandRequest.from_payload(request.to_payload()) == request


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields[:5],
        lambda fields: [b"2", *fields[1:]],
        lambda fields: [*fields[:3], b"9", *fields[4:]],  # umask
        lambda fields: [*fields[:7], b"99", *fields[8:]],  # more arguments than there are fields
        lambda fields: [*fields[:7], b"-1", *fields[8:]],
        lambda fields: [*fields[:5], b"80", *fields[6:]],  # window size
    ],
)
def test_requests_that_do_not_fit(change: object) -> None:
    request = wire.CommandRequest("squeue", ("-l",), "/", 0o22, (False, False, False), None, 1, {"A": "b"})
    fields = change(wire.decode_list(request.to_payload()))  # type: ignore[operator]
    with pytest.raises(wire.WireError):
        wire.CommandRequest.from_payload(wire.encode_list(fields))


def test_of_two_equal_variables_the_first_counts() -> None:
    request = wire.CommandRequest("squeue", (), "/", 0o22, (False, False, False), None, 1, {})
    payload = request.to_payload() + wire.encode_list([b"A=1", b"A=2", b"not a variable"])
    assert wire.CommandRequest.from_payload(payload).env == {"A": "1"}


def test_a_giant_frame_is_refused_before_it_arrives() -> None:
    with pytest.raises(wire.WireError):
        list(wire.FrameReader().feed(b"R\xff\xff\xff\xff"))


def test_nothing_is_kept_after_a_malformed_frame():
    reader = wire.FrameReader()
    with pytest.raises(wire.WireError):
        list(reader.feed(b"R\xff\xff\xff\xff" + b"x" * 100))
    for _ in range(3):
        with pytest.raises(wire.WireError):
            list(reader.feed(b"x" * 1000))
    assert not reader._pieces
