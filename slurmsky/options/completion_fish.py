"""Completion script for fish, with each option's help."""

from __future__ import annotations

from typing import Iterable, Iterator

from .completion import ALL, OPERANDS, UPDATES, Own, behind, kind_of, template, verbs_of
from .table import Option, load


def fish(own: Own) -> str:
    """The completion script for fish 3 and later."""
    lines = [template("fish")]
    for command in (*ALL, "slurmsky"):
        lines += _command(command, own)
    return "\n".join(lines) + "\n"


def _command(command: str, own: Own) -> Iterator[str]:
    yield f"complete -c {command} -e"
    if command != "slurmsky":
        for option in load(command).options:
            if not option.hidden and option.long:
                yield _option(command, option)
    verbs = verbs_of(command, own)
    operand = OPERANDS.get(command, "")
    if verbs:
        yield f"complete -c {command} -f -n __slurmsky_first -a {_quoted(verbs)}"
        test = "__slurmsky_under" if command == "slurmsky" else "__slurmsky_behind"
        for verb, kind in behind(command, own):
            words = _quoted(kind[1:].split("+")) if kind.startswith("+") else f"'(__slurmsky_{kind})'"
            yield f"complete -c {command} -f -n '{test} {verb}' -a {words}"
    elif operand not in ("", "files"):
        yield f"complete -c {command} -f -a '(__slurmsky_{operand})'"
    if command == "scontrol":
        for key, updates in UPDATES.items():
            yield f"complete -c scontrol -f -n '__slurmsky_updates \"{key}\"' -a {_quoted(updates.split())}"


def _option(command: str, option: Option) -> str:
    kind = kind_of(option)
    parts = [f"complete -c {command} -l {option.long}"]
    if option.short:
        parts.append(f"-s {option.short}")
    if option.argument == "required":
        parts.append("-x" if kind not in ("files", "") else "-r")
    if option.argument != "none" and kind:
        parts.append(f"-a '({_values(command, kind)})'")
    meaning = option.help or option.meaning
    return " ".join([*parts, f"-d {_escaped(meaning)}"] if meaning else parts)


def _values(command: str, kind: str) -> str:
    if kind.startswith("="):
        return f"__slurmsky_words {kind[1:].replace('+', ' ')}"
    if kind == "fields":
        helps = "--helpFormat" if command in ("squeue", "sinfo") else "--helpformat"
        return f"__slurmsky_fields {command} {helps}"
    return f"__slurmsky_{kind}"


def _quoted(words: Iterable[str]) -> str:
    return _escaped(" ".join(words))


def _escaped(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
