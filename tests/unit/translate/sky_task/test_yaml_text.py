"""Every string of the YAML is a string for YAML 1.1 and 1.2."""

from __future__ import annotations

import re

import pytest
import yaml

from slurmsky.translate.sky_task.yaml_text import dump

#: numbers of YAML 1.2's core schema; PyYAML reads 1.1
_NUMBER_OF_1_2 = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|0x[\da-fA-F]+|[-+]?\.inf|\.nan")


@pytest.mark.parametrize(
    "text",
    [
        ".5", ".5e3", "1e3", "1.", "0x1f", "0o17", "1_000", "1:30", "2001-01-01", "-.5", ".inf", ".NaN", "~", "null",
        "yes", "On", "n", "Y", "=", "<<", "", " ", "a: b", "- x", "# x", "!x", "&x", "*x", "@x", "`x", "%x", "a #b",
        "x:", "4+", "tab\tx", "one\ntwo", "one\n\ntwo\n", " lead\n", "end \nx\n", "\u2028", "\x85", "caf\u00e9",
        "\U0001f600", "\x00\x7f", "a" * 5000 + " b" * 500,
    ],
)  # fmt: skip
def test_a_string_is_read_back_as_itself_alone_as_key_and_in_a_list(text: str) -> None:
    value = {"envs": {"RATE": text, f"k{text}": "x"}, "list": [text, {"inner": text}]}
    written = dump(value)
    assert yaml.safe_load(written) == value
    plain = re.search(r"^  RATE: ([^\"'|\n]+)$", written, re.MULTILINE)
    assert plain is None or not _NUMBER_OF_1_2.fullmatch(plain[1])


def test_bytes_that_are_no_utf_8_become_replacement_characters() -> None:
    written = dump({"run": b"echo caf\xe9\n".decode("utf-8", "surrogateescape")})
    assert yaml.safe_load(written.encode()) == {"run": "echo caf\ufffd\n"}


def test_equal_values_are_repeated_not_named_by_an_anchor() -> None:
    both = ["x"]
    assert dump({"a": both, "b": both}) == "a:\n  - x\nb:\n  - x\n"
