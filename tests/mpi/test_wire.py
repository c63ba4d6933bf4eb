"""PMI's two protocols as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.agent.mpi.pmi_wire import PmiError, PmiReader, counted, process_mapping

_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters=";=\x7f"), max_size=20)


def _node_of(mapping: str) -> list[int]:
    """Node of each rank, by the rules of the PMI-2 document."""
    nodes: list[int] = []
    for block in re.findall(r"\((\d+,\d+,\d+)\)", mapping):
        first, count, each = map(int, block.split(","))
        nodes += [first + node for node in range(count) for _ in range(each)]
    return nodes


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_process_mapping_says_where_each_rank_is(node_of: list[int]) -> None:
    ranks = [[rank for rank, node in enumerate(node_of) if node == index] for index in range(5)]
    assert _node_of(process_mapping(ranks)) == node_of


@given(st.dictionaries(_TEXT.filter(lambda text: text not in ("", "cmd")), st.text("ab=; x")), st.data())
def test_pmi2_is_read_in_any_pieces(fields: dict[str, str], data: st.DataObject) -> None:
    # A value may hold any character; one that ends before a doubled semicolon is the hard case.
    stream = counted("kvs-put", list(fields.items())) + counted("kvs-fence", ())
    reader = PmiReader()
    reader.version = 2
    cut = data.draw(st.integers(0, len(stream)))
    requests = [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])]
    assert [request.command for request in requests] == ["kvs-put", "kvs-fence"]
    assert requests[0].fields == fields


def test_pmi1_lines_and_blocks() -> None:
    reader = PmiReader()
    assert list(reader.feed(b"cmd=put kvsname=1.0 key=a value=b=c\nmcmd=spawn\nnprocs=2\nexec")) == [
        ("put", {"kvsname": "1.0", "key": "a", "value": "b=c"})
    ]
    assert list(reader.feed(b"name=x y\nendcmd\ncmd=finalize\n")) == [
        ("spawn", {"nprocs": "2", "execname": "x y"}),
        ("finalize", {}),
    ]


@pytest.mark.parametrize("data", [b"abcdef", b"  -1  ", b"GET / HTTP/1.1\r\n"])
def test_an_invalid_pmi2_length_is_refused(data: bytes) -> None:
    reader = PmiReader()
    reader.version = 2
    with pytest.raises(PmiError):
        list(reader.feed(data))


def test_a_request_without_end_is_refused() -> None:
    with pytest.raises(PmiError):
        list(PmiReader().feed(b"x" * ((1 << 20) + 1)))
