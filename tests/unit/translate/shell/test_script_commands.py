"""Scripts parsed into commands: structure, positions, and arbitrary text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsky.language import shellwords
from slurmsky.translate.shell.script_commands import parse


def commands(text: str) -> list[list[str]]:
    return [command.word_texts for command in parse(text).commands if command.words]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b; c && d | e & f", [["a", "b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a 'b c' \"d e\" f\\ g", [["a", "b c", "d e", "f g"]]),
        ("X=1 Y=$Z a", [["a"]]),
        ("a $(b | c $(d)) `e`", [["a", "$(b | c $(d))", "`e`"], ["b"], ["c", "$(d)"], ["d"], ["e"]]),
        ("srun bash -c 'a; b \"$X\"'", [["srun", "bash", "-c", 'a; b "$X"'], ["a"], ["b", '"$X"']]),
        ("for i in 1 2; do a $i; done", [["a", "$i"]]),
        ("for ((i=0; i<3; i++)); do a; done", [["a"]]),
        ("if [ -f x ]; then a; else b; fi", [["[", "-f", "x", "]"], ["a"], ["b"]]),
        ("case $x in a|b) c;; *) d;; esac", [["c"], ["d"]]),
        ("f() { a; }; function g { b; }", [["a"], ["b"]]),
        ("a <<E | b\nnot a command\nE\nc", [["a"], ["b"], ["c"]]),
        ("a <<-'E'\n\tx $(y)\n\tE\nb", [["a"], ["b"]]),
        ("a > out 2>&1 < in b", [["a", "b"]]),
        ("x=(a $(b) c)", [["b"]]),
        ("# a\nb # c\nd#e", [["b"], ["d#e"]]),
        ("[[ a < b && c ]] && d", [["[[", "a", "b", "c", "]]"], ["d"]]),
        ("a \\\n  b", [["a", "b"]]),
        ("(( x = 1 )) && a", [["a"]]),
        ("for h in $(scontrol show hostnames); do a; done", [["scontrol", "show", "hostnames"], ["a"]]),
    ],
)
def test_commands(text: str, found: list[list[str]]) -> None:
    assert sorted(commands(text)) == sorted(found)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ('a"b $X"', [("text", "a"), ("text", "b "), ("variable", "X")]),
        ("${X:-$(c d)}", [("variable", "X")]),
        ("$((8 * N))", [("arithmetic", "")]),
        ("'$X'", [("text", "$X")]),
        ('"\\$X"', [("text", "$"), ("text", "X")]),
        ('"never', [("text", '"never')]),
        ("$'a\\n'", [("text", "a\n")]),
        ("${a[$i]}x", [("variable", "a"), ("text", "x")]),
    ],
)
def test_words(word: str, parts: list[tuple[str, str]]) -> None:
    assert [(part.kind, part.text or part.name) for part in shellwords.parse(word)] == parts


def test_variables_within_sums_and_defaults() -> None:
    word = shellwords.parse('"${A:-$B}$(( C + $D ))"')
    assert [part.name for part in shellwords.variables(word)] == ["A", "B", "C", "D"]


def test_places_are_offsets_in_the_whole() -> None:
    text = 'a\nsrun bash -c "echo \\$X $(b $Y)"\n'
    for command in parse(text).commands:
        for word in command.words:
            assert text[word.start : word.end].replace("\\", "") == word.raw.replace("\ue000", "").replace("\\", "")


@pytest.mark.parametrize(
    "text",
    [
        '"' + "a " * 200_000,
        "x" * 1_000_000,
        "(" * 50_000,
        "echo $(" * 20_000,
        "'\"`" * 30_000,
        "cat <<A <<B\n" * 5_000,
        "if " * 20_000,
        "case x in\n" * 5_000,
        "`" * 50_000,
        "${" * 50_000,
        "\\" * 50_001,
    ],
    ids=lambda text: text[:6],
)
def test_hostile_texts_take_no_time(text: str) -> None:
    start = time.process_time()
    parse(text).commands  # noqa: B018
    assert time.process_time() - start < 5


@given(st.text(alphabet="ab $(){}[]<>|&;'\"`\\\n#=!*-/0", max_size=60))
def test_any_text_is_read(text: str) -> None:
    script = parse(text)
    for statement in script.statements:
        assert 0 <= statement.start <= statement.end <= len(text)
    for command in script.commands:
        assert 0 <= command.start <= command.end <= len(text)


@pytest.mark.parametrize("first", ["/usr/bin/env python3", "/usr/bin/python", "/usr/bin/env -S Rscript", "/opt/julia"])
def test_a_file_for_another_interpreter_has_no_commands(first: str) -> None:
    assert not parse(f"#!{first}\nfrom os import path\n").commands
    assert parse("#!/usr/bin/env -S bash -l\nhostname\n").commands and parse("#!/bin/tcsh\nhostname\n").commands


def test_csh_is_read_as_the_shell() -> None:
    text = "#!/bin/tcsh\nsetenv A x\nforeach i (1 2)\n  if ($i == 1) then\n    prog $i\n  endif\nend\nif ($?B) other\n"
    names = [command.name for command in parse(text).commands]
    assert [name for name in names if name not in ("", ":", "export", "true")] == ["prog", "other"]
    assert [command.line for command in parse(text).commands if command.name == "other"] == [8]
