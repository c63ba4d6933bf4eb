"""Words KEY=VALUE read by a table of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from slurmsky.language.key_values import NOTHING, Given, Key, KeyTable, fits, matching_value, parse


class Refused(Exception):
    """The exception of this test's command."""


def _bare(word: str, rest: Iterator[str]) -> Given:
    value = next(rest, None)
    if value is None:
        raise Refused(f"bare {word}")
    return Given(value, word, value)


def _unknown(context: list[str], given: Given) -> Mapping[str, Any]:
    context.append(given.word)
    return {"failed": True}


def _sum(context: list[str], given: Given) -> int:
    return int(given.before.get("size", 0)) + int(given.value)


TABLE: KeyTable[list[str]] = KeyTable(
    (
        Key("TimeLimit", 5, "time", lambda context, given: given.sign + given.value, signed=True),
        Key("Size", 1, "size", _sum),
        Key("TimeMin", 5, "", lambda context, given: {"time": given.value, "least": given.key}),
        Key("Note", 1, "note", lambda context, given: given.unquoted or NOTHING),
    ),
    _bare,
    _unknown,
    lambda given: Refused(f"sign {given.name}"),
    flags=(("Nice", 2, {"nice": 100}),),
)


@pytest.mark.parametrize(
    ("words", "update"),
    [
        ([], {}),
        (["timelimit+=5"], {"time": "+5"}),
        (["timel=a=b"], {"time": "a=b"}),
        (["timem=3"], {"time": "3", "least": "TimeMin"}),
        (["s=1", "SIZE=2"], {"size": 3}),
        (["Size", "4", "ni"], {"size": 4, "nice": 100}),
        (["note="], {}),
        (["note='x y'"], {"note": "x y"}),
        (["time=3"], {"failed": True}),
    ],
)
def test_words_set_fields_by_the_first_key_that_fits(words: list[str], update: dict[str, Any]) -> None:
    assert TABLE.read([], words) == update


def test_an_unknown_key_is_reported_with_its_word() -> None:
    unknown: list[str] = []
    TABLE.read(unknown, ["Other+=3", "Size=1"])
    assert unknown == ["Other+=3"]


@pytest.mark.parametrize(("words", "message"), [(["Size+=1"], "sign Size"), (["size"], "bare size")])
def test_refusals_are_the_exceptions_of_the_command(words: list[str], message: str) -> None:
    with pytest.raises(Refused, match=message):
        TABLE.read([], words)


def test_a_prefix_fits_with_enough_letters_in_any_case() -> None:
    assert fits("NODEn", "NodeName", 3)
    assert not fits("no", "NodeName", 3)
    assert not fits("nodes", "NodeName", 3)
    assert matching_value("part", (("Partition", 5, 1), ("Parts", 4, 2))) == 2
    assert matching_value("x", ()) is None


def test_a_word_splits_at_its_first_equals_sign() -> None:
    assert parse("a-=b=c") == Given("a-=b=c", "a", "b=c", "-")
    assert parse("a") is None
