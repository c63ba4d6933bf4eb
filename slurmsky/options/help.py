"""--help, --usage, --version, --autocomplete and the coverage page, all from the table.

The layout is Slurm's (a column of options, a column of meanings); the meanings are the table's own words.
"""

from __future__ import annotations

import textwrap
from typing import Iterable, Mapping, Sequence, Union

from .filters import NODE_STATES, STATE_NAMES
from .requests import SinfoQuery, SqueueQuery
from .table import COMMANDS, SUBMIT, Option, Table, every, load

VERSION = "25.11.0"

OPERANDS = {
    "sbatch": "script [args...]",
    "srun": "executable [args...]",
    "salloc": "[command [args...]]",
    "scancel": "[job_id[_array_id][.step_id]...]",
    "scontrol": "[command]",
    "sattach": "<jobid.stepid>",
    "sbcast": "SOURCE DEST",
    "sacctmgr": "[command [specs...]]",
    "sreport": "[report [options...]]",
    "scrontab": "[file|-]",
    "seff": "jobid",
    "swait": "jobid...",
}
HEADINGS = (
    ("mapped", "Options:"),
    ("agent", "Options that act inside the job:"),
    ("recorded", "Kept and shown, without effect on the job:"),
    ("none", "Accepted, without effect here:"),
    ("refused", "Not available here:"),
)
_COLUMN = 30
_WIDTH = 79
_PLACEHOLDERS = {
    "time": "time",
    "memory": "size[units]",
    "int": "n",
    "filename-pattern": "file",
    "node-list": "hosts",
    "gres": "list",
    "signal": "signal",
    "dependency": "type:jobid",
    "array": "indexes",
    "user-list": "users",
    "tres": "list",
}


def version_text() -> str:
    """What --version prints."""
    return f"slurm {VERSION}\n"


def help_text(table: Table) -> str:
    """What --help prints: usage line, then options by what becomes of them, in the table's order."""
    operands = OPERANDS.get(table.command, "")
    lines = [f"Usage: {table.command} [OPTIONS...] {operands}".rstrip()]
    last = [option for option in table.options if option.reader in ("help", "usage", "version")]
    for policy, heading in HEADINGS:
        chosen = [
            option
            for option in table.options
            if option.policy == policy and not option.hidden and not option.same_as and option not in last
        ]
        if chosen:
            lines += ["", heading]
            lines += (line for option in chosen for line in _entry(option))
    lines += ["", "Help options:"]
    lines += (line for option in last for line in _entry(option))
    return "\n".join(lines) + "\n"


def _entry(option: Option) -> list[str]:
    left = f"  -{option.short}, " if option.short else "      "
    left += f"--{option.long}{_argument(option)}"
    meaning = option.help or option.meaning
    wrapped = textwrap.wrap(meaning, _WIDTH - _COLUMN) or [""]
    if len(left) >= _COLUMN:
        return [left, *(" " * _COLUMN + line for line in wrapped)]
    return [left.ljust(_COLUMN) + wrapped[0], *(" " * _COLUMN + line for line in wrapped[1:])]


def placeholder(option: Option) -> str:
    """The word that stands for the option's value."""
    if option.kind.startswith("enum:"):
        words = option.kind[5:].split(";")
        return "|".join(words) if len(option.kind) <= 25 and "(empty)" not in words else "value"
    return _PLACEHOLDERS.get(option.kind, "value")


def _argument(option: Option) -> str:
    if option.argument == "none":
        return ""
    return f"={placeholder(option)}" if option.argument == "required" else f"[={placeholder(option)}]"


def usage_text(table: Table) -> str:
    """What --usage prints: every option once, in brackets."""
    head = f"Usage: {table.command} "
    if table.command == "sattach":
        return head + "[options] <jobid.stepid>\n"
    words = []
    for option in table.options:
        if option.hidden or option.same_as or option.reader in ("help", "usage", "version"):
            continue
        short = option.short and option.argument == "required"
        words.append(
            f"[-{option.short}\x00{placeholder(option)}]" if short else f"[--{option.long}{_argument(option)}]"
        )
    words.append(OPERANDS.get(table.command, "").replace(" ", "\x00"))
    wrapped = textwrap.wrap(" ".join(words).strip(), _WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
    return head + ("\n" + " " * len(head)).join(wrapped).replace("\x00", " ") + "\n"


def in_columns(words: Sequence[str], columns: int = 4, width: int = 20) -> str:
    """Words in columns, as sacct --helpformat shows its fields."""
    rows = [words[at : at + columns] for at in range(0, len(words), columns)]
    return "".join(" ".join(word.ljust(width - 1) for word in row) + "\n" for row in rows)


def field_help(query: Union[SqueueQuery, SinfoQuery], fields: Iterable[Mapping[str, str]]) -> str:
    """What --helpformat (letters), --helpFormat (names) or --helpstate print.

    ``fields`` are rows with name, letter and hidden, as the command's fact table has them.
    """
    if query.helpstate:
        states = dict.fromkeys(NODE_STATES if isinstance(query, SinfoQuery) else STATE_NAMES)
        return in_columns([state for state in states if state != "?"])
    shown = [row for row in fields if not row["hidden"]]
    if query.helpformat:
        letters = {row["letter"]: row["name"] for row in shown if row["letter"]}
        return "".join(f"%{letter}  {name}\n" for letter, name in sorted(letters.items()))
    return in_columns(list(dict.fromkeys(row["name"] for row in shown)))


def completions(table: Table, prefix: str) -> str:
    """What --autocomplete=PREFIX prints: matching long options, or behind ``--name=`` the option's words."""
    name, equals, begun = prefix.lstrip("-").partition("=")
    option = table.longs.get(name)
    if equals or (option is not None and option.kind.startswith("enum:")):
        words = option.kind[5:].split(";") if option is not None and option.kind.startswith("enum:") else []
        matches: Iterable[str] = (word for word in words if word.startswith(begun) and word.isidentifier())
    else:
        matches = (
            _completion(option) for long, option in table.longs.items() if long.startswith(name) and not option.hidden
        )
    return "".join(f"{match}\n" for match in matches)


def _completion(option: Option) -> str:
    return f"--{option.long}" + {"required": "=", "none": "", "optional": ""}[option.argument]


def completion_words(command: str) -> tuple[str, ...]:
    """All words that a shell may complete an option of ``command`` to."""
    options = [option for option in load(command).options if not option.hidden]
    return tuple(
        dict.fromkeys(
            [f"-{option.short}" for option in options if option.short] + [_completion(option) for option in options]
        )
    )


def coverage(commands: Iterable[str] = COMMANDS) -> str:
    """The coverage page's tables (Markdown): every option of every command, and what becomes of it."""
    lines: list[str] = []
    for command in commands:
        lines += [f"## {command}", "", "| option | here | remark |", "|---|---|---|"]
        for option in every(command):
            name = f"`--{option.long}`" if option.long else f"`${option.env[0] if option.env else option.meaning}`"
            short = f", `-{option.short}`" if option.short else ""
            remark = option.why or (f"same as `--{option.same_as}`" if option.same_as else "")
            lines.append(f"| {name}{short} | {option.policy} | {remark} |")
        lines.append("")
    return "\n".join(lines)


def tally(commands: Iterable[str] = SUBMIT) -> dict[str, int]:
    """How many options of ``commands`` each policy has."""
    counts: dict[str, int] = {}
    for command in commands:
        for option in every(command):
            counts[option.policy] = counts.get(option.policy, 0) + 1
    return counts
