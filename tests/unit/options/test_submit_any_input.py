"""Any command line, environment or script is a request or a refusal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from parsed_requests import HERE, around

from slurmsky.options import query, submit, table
from slurmsky.options.submit import ScriptText
from slurmsky.options.usage_errors import CommandError, Printed

# ---------------------------------------------------------------- any input

WORDS = st.one_of(
    st.sampled_from([f"--{option.long}" for command in table.COMMANDS for option in table.load(command).options]),
    st.builds(
        lambda option, text: f"--{option.long}={text}",
        st.sampled_from([o for command in table.COMMANDS for o in table.load(command).options if o.long]),
        st.text(max_size=6) | st.sampled_from(["1", "0", "-1", "1-2", "n[1-3]", "1:2", "gpu:1", "now", "x,y", ""]),
    ),
    st.text(max_size=5),
    st.sampled_from([":", "--", "-", "1", "s.sh"]),
)


@given(st.sampled_from(table.COMMANDS), st.lists(WORDS, max_size=5))
def test_any_command_line_is_a_request_or_a_refusal(command: str, argv: list[str]) -> None:
    parsers: dict[str, Any] = {
        "sbatch": lambda words, ctx: submit.parse_sbatch(words, ScriptText("s", b"#!/bin/sh\n"), ctx),
        "srun": submit.parse_srun,
        "salloc": submit.parse_salloc,
        **{name: getattr(query, f"parse_{name}") for name in table.COMMANDS if name not in table.SUBMIT},
    }
    try:
        parsers[command](argv, HERE)
    except CommandError as fault:
        assert fault.lines or isinstance(fault, Printed)


@given(
    st.dictionaries(
        st.sampled_from(sorted({name for c in table.COMMANDS for o in table.load(c).options for name in o.env})),
        st.text(max_size=6),
        max_size=4,
    ),
    st.sampled_from(table.COMMANDS),
)
def test_any_environment_is_a_request_or_a_refusal(env: dict[str, str], command: str) -> None:
    try:
        if command == "sbatch":
            submit.parse_sbatch(["s"], ScriptText("s", b"#!/bin/sh\n"), around(env))
        elif command in table.SUBMIT:
            getattr(submit, f"parse_{command}")(["x"], around(env))
        else:
            getattr(query, f"parse_{command}")(["1.0"], around(env))
    except CommandError as fault:
        assert fault.lines or isinstance(fault, Printed)


@given(st.binary(max_size=60))
def test_any_script_is_a_request_or_a_refusal(data: bytes) -> None:
    for script in (data, b"#!/bin/sh\n#SBATCH " + data):
        try:
            submit.parse_sbatch(["s"], ScriptText("s", script), HERE)
        except CommandError as fault:
            assert fault.lines or isinstance(fault, Printed)
