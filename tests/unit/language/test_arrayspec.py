"""--array as slurmctld 22.05 shows it (ArrayTaskId), and as 25.11's code reads it."""

from __future__ import annotations

import time

import pytest

from slurmsky.language.arrayspec import ArraySpec, ArraySpecError, format_indices, parse


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("1-3, 5", "1-3,5"),
        (" 1", "1"),
        ("[1,3]", "1,3"),
        ("[1-5]:2", "1,3,5"),
        ("1-5:2]", "1,3,5"),
        ("+3", "3"),
        ("1%2,5", "1,5%2"),
        ("1-3%2x", "1-3%2"),
        ("1-3:+2", "1,3"),
        ("1-3%2%2", "1-3%2"),
        ("1,,2", "1-2"),
        (",1", "1"),
        ("1,", "1"),
        ("%2", "0%2"),
        ("1-3,2-4", "1-4"),
        ("[1-3]", "1-3"),
        ("1-10:20", "1"),
        ("1-5,7,9-11:2%3", "1-5,7,9,11%3"),
        ("001-003", "1-3"),
        ("0-16:4", "0,4,8,12,16"),
        ("0-20:4", "0-20:4"),
        ("1-11:2", "1,3,5,7,9,11"),
        ("0-100:3%4", "0-99:3%4"),
        ("1-3,10-12,20,30,40,50,60", "1-3,10-12,20,30,40,50,60"),
        ("1%0", "1"),
        ("1%a", "1"),
        ("1%-1", "1"),
        ("1%", "1"),
        ("0-", "0"),
        ("-0", "0"),
    ],
)
def test_accepted_texts_are_parsed_and_printed(text: str, shown: str) -> None:
    spec = parse(text, 100001)
    assert spec is not None
    assert format_indices(spec, spec.max_running) == shown
    assert format_indices(list(spec), spec.max_running) == shown  # not only from the compact form


@pytest.mark.parametrize(
    "text",
    [
        *(
            "abc",
            "-1",
            "5-1",
            "1-",
            "1-3:",
            "1-3:0",
            "1-3:-1",
            "1-3:2:2",
            "1 - 3",
            "*",
            " ",
            "1-3 %2",
            "1-0x3",
        ),
        *("100001", "0-100001", "1-1000000000", "99999999999"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ArraySpecError):
        parse(text, 100001)


@pytest.mark.parametrize(("text", "answer"), [("", None), (",", None)])
def test_no_array(text: str, answer: ArraySpec | None) -> None:
    assert parse(text) is answer


def test_a_long_list_is_truncated_as_by_bit_fmt() -> None:
    tens = range(0, 1000, 10)
    odd = [*tens, 1001]
    shown = format_indices(odd)
    assert len(shown) == 63 and shown.endswith("...")
    assert format_indices(odd, 5) == shown + "%5"
    assert format_indices(odd, bitstr_len=0).endswith(",990,1001")
    assert len(format_indices(odd, bitstr_len=20)) == 19


def test_a_hundred_thousand_elements_cost_as_much_as_one() -> None:
    parse("1")
    started = time.process_time()
    spec = parse("0-99999%8", 100001)
    assert spec is not None and len(spec) == 100000 and 99999 in spec and 100000 not in spec
    assert str(spec) == format_indices(spec, spec.max_running) == "0-99999%8"
    assert len(spec.ranges) == 1
    assert time.process_time() - started < 0.05


def test_overlapping_steps_cannot_make_it_slow() -> None:
    text = ",".join(f"{i}-99999:{i + 2}" for i in range(5000))
    started = time.process_time()
    spec = parse(text, 100001)
    assert spec is not None and len(spec) > 90000
    assert time.process_time() - started < 3


@pytest.mark.parametrize("ranges", [(), (range(0),), (range(3), range(2, 5)), (range(-1, 2),)])
def test_an_invalid_record_cannot_be_created(ranges: tuple[range, ...]) -> None:
    with pytest.raises(ValueError):
        ArraySpec(ranges)
