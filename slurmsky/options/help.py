"""Texts of --help, --usage, --version, --autocomplete and the coverage page.

The layout is Slurm's (a column of options, a column of descriptions); the option table has the descriptions.
"""

from __future__ import annotations

import csv
import pkgutil
import textwrap
from functools import cache
from typing import Iterable, Mapping, Optional, Sequence, Union

from ..model.release import RELEASE
from . import manual_words
from .filters import NODE_STATES, STATE_NAMES
from .requests import SinfoQuery, SqueueQuery
from .table import SUBMIT, Option, OptionTable, load

OPERANDS = {
    "sbatch": "[OPTIONS(0)...] [ : [OPTIONS(N)...]] script(0) [args(0)...]",
    "srun": "[OPTIONS(0)... [executable(0) [args(0)...]]] [ : [OPTIONS(N)...]] executable(N) [args(N)...]",
    "salloc": "[OPTIONS(0)...] [ : [OPTIONS(N)]] [command(0) [args(0)...]]",
    "scancel": "[OPTIONS] [job_id[_array_id][.step_id]]",
    "sattach": "[options] <jobid.stepid>",
    "sbcast": "[OPTIONS] SOURCE DEST",
    "strigger": "[--set | --get | --clear] [OPTIONS]",
    "scrontab": "[OPTIONS] [file|-]",
    "seff": "[OPTIONS] jobid",
    "swait": "[OPTIONS] jobid...",
}
#: operands after the options in --usage
USAGE_OPERANDS = {
    "sbatch": "executable [args...]",
    "srun": "executable [args...]",
    "salloc": "[command [args...]]",
    "scancel": "[job_id[_array_id][.step_id]]",
    "sbcast": "SOURCE DEST",
    "scrontab": "[file|-]",
    "seff": "jobid",
    "swait": "jobid...",
}
#: remarks on options that have less effect here than under Slurm
_REMARKS = {
    "recorded": "kept and shown, without effect",
    "none": "without effect here",
    "refused": "not available here",
}
_OTHER, _HELP = "Other options:", "Help options:"
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
#: commands whose help describes options and operands in paragraphs, each with a colon
_MANUALS = ("sacct", "sstat", "sshare", "sreport", "sacctmgr", "scontrol")
_TIMES = """
    valid start/end time formats are...
               HH:MM[:SS] [AM|PM]
               MMDD[YY] or MM/DD[/YY] or MM.DD[.YY]
               MM/DD[/YY]-HH:MM[:SS]
               YYYY-MM-DD[THH:MM[:SS]]
               now[{+|-}count[seconds(default)|minutes|hours|days|weeks]]
"""


def version_text() -> str:
    """The text of --version."""
    return f"slurm {RELEASE}\n"


def help_text(table: OptionTable) -> str:
    """Text of --help. Sections and spellings are Slurm's, descriptions the table's."""
    if table.command in _MANUALS:
        return _manual(table)
    sections: dict[str, list[str]] = {}
    left = {option.long: option for option in table.options if not option.hidden and not option.same_as}
    for row in _layout(table.command):
        option = _named(left, row["option"])
        if option is not None:
            sections.setdefault(row["section"], []).extend(_entry(option, row["option"] + row["value"]))
            left.pop(option.long)
    more = next((name for name in (_OTHER, "Options:") if name in sections), "Options:")
    for option in left.values():
        helping = option.reader in ("help", "usage", "version")
        sections.setdefault(_HELP if helping else more, []).extend(_entry(option, option.long + _argument(option)))
    if _HELP in sections and _OTHER not in sections:
        sections[_HELP] = sections.pop(_HELP)
    lines = [f"Usage: {table.command} {OPERANDS.get(table.command, '[OPTIONS]')}"]
    for name, entries in sections.items():
        lines += [*([] if name == "Options:" else ["", name]), *entries]
    return "\n".join(lines) + "\n"


@cache
def _layout(command: str) -> tuple[dict[str, str], ...]:
    """Options in the order of Slurm's help.

    Each has its section and placeholder. Source: _help of each command.
    """
    data = pkgutil.get_data("slurmsky.options", "help.csv")
    assert data is not None, "help.csv is missing from the package"
    return tuple(row for row in csv.DictReader(data.decode().splitlines()) if row["command"] == command)


def _named(options: Mapping[str, Option], name: str) -> Optional[Option]:
    """Find an option by name or by Slurm's abbreviation. An example is --job for --jobs."""
    return options.get(name) or next((option for long, option in options.items() if long.startswith(name)), None)


def _meaning(option: Option) -> str:
    meaning = option.help or option.meaning
    return f"{meaning} ({_REMARKS[option.policy]})" if option.policy in _REMARKS else meaning


def _entry(option: Option, spelling: str) -> list[str]:
    left = f"  -{option.short}, " if option.short else "      "
    left += f"--{spelling}"
    wrapped = textwrap.wrap(_meaning(option), _WIDTH - _COLUMN) or [""]
    if len(left) >= _COLUMN:
        return [left, *(" " * _COLUMN + line for line in wrapped)]
    return [left.ljust(_COLUMN) + wrapped[0], *(" " * _COLUMN + line for line in wrapped[1:])]


def _manual(table: OptionTable) -> str:
    """Help with options and operands in a list of paragraphs."""
    words = manual_words.WORDS.get(table.command)
    lines = [f"{table.command} [<OPTION>]" + (" [<COMMAND>]" if words else ""), "    Valid <OPTION> values are:"]
    for option in table.options:
        if not option.hidden and not option.same_as:
            letter = f"-{option.short}, " if option.short else ""
            lines.append(f"     {letter}--{option.long}:")
            lines += (" " * 19 + line for line in textwrap.wrap(_meaning(option), _WIDTH - 19))
    if words:
        lines += ["", "    Valid <COMMAND> values are:"]
        for word, meaning in words:
            lines.append(f"     {word}".ljust(_COLUMN - 1) + f" {meaning}")
        lines += ["", *manual_words.NOTES[table.command]]
    return "\n".join(lines) + "\n" + (_TIMES if table.command in ("sacct", "sreport") else "")


def placeholder(option: Option) -> str:
    """The placeholder of an option's value."""
    if option.kind.startswith("enum:"):
        words = option.kind[5:].split(";")
        return "|".join(words) if len(option.kind) <= 25 and "(empty)" not in words else "value"
    return _PLACEHOLDERS.get(option.kind, "value")


def _argument(option: Option) -> str:
    if option.argument == "none":
        return ""
    return f"={placeholder(option)}" if option.argument == "required" else f"[={placeholder(option)}]"


#: synopses in Slurm's exact text, which scripts may match
_USAGES = {
    "squeue": """\
Usage: squeue [-A account] [--clusters names] [-i seconds] [--job jobid]
              [-n name] [-o format] [--only-job-state] [-p partitions]
              [--qos qos] [--reservation reservation] [--sort fields] [--start]
              [--step step_id] [-t states] [-u user_name] [--usage]
              [-L licenses] [-w nodes] [--federation] [--local] [--sibling]
              [--expand-patterns] [--json=data_parser] [--yaml=data_parser]
              [--running-over=time] [--running-under=time] [-ahjlrsv]
""",
    "sattach": "Usage: sattach [options] <jobid.stepid>\n",
    "sstat": "Usage: sstat [options] -j <job(.stepid)>\n    Use --help for help\n",
}


def usage_text(table: OptionTable) -> str:
    """Text of --usage: each option once, in brackets. The letters of all flags share one pair of brackets."""
    if table.command in _USAGES:
        return _USAGES[table.command]
    if table.command in ("sacctmgr", "scontrol"):
        return help_text(table)
    head = f"Usage: {table.command} "
    shown = [option for option in table.options
             if not (option.hidden or option.same_as or option.reader in ("help", "usage"))]  # fmt: skip
    compact = table.command not in SUBMIT
    letters = "".join(sorted(option.short for option in shown if option.short and option.argument == "none"))
    words = [f"[-{letters}]"] if compact and letters else []
    for option in shown:
        value = "names" if compact and option.argument == "optional" else placeholder(option)
        if option.argument == "none":
            words += [] if compact and option.short else [f"[--{option.long}]"]
        elif option.short:
            words.append(f"[-{option.short}\x00{value}]")
        else:
            words.append(f"[--{option.long}={value}]" if compact else f"[--{option.long}{_argument(option)}]")
    if table.command == "sbcast":
        # Slurm omits sbcast's options with values.
        return f"{head}[--exclude] [-{letters}] [--send-libs] {USAGE_OPERANDS['sbcast']}\n"
    words.append(USAGE_OPERANDS.get(table.command, "").replace(" ", "\x00"))
    wrapped = textwrap.wrap(" ".join(words).strip(), _WIDTH - len(head), break_long_words=False, break_on_hyphens=False)
    return head + ("\n" + " " * len(head)).join(wrapped).replace("\x00", " ") + "\n"


def in_columns(words: Sequence[str], width: int = 19, columns: int = 4, end: str = "") -> str:
    """Format words in columns, as sacct --helpformat does. ``end``: text after each line."""
    rows = [words[at : at + columns] for at in range(0, len(words), columns)]
    return "".join(" ".join(word.ljust(width) for word in row) + end + "\n" for row in rows)


def field_help(query: Union[SqueueQuery, SinfoQuery], fields: Iterable[Mapping[str, str]]) -> str:
    """Text of --helpformat (letters), --helpFormat (names) or --helpstate.

    ``fields`` are rows with name, letter and hidden, as in the command's table of fields.
    """
    if query.helpstate:
        states = NODE_STATES if isinstance(query, SinfoQuery) else [state.lower() for state in STATE_NAMES]
        return "".join(f"{state}\n" for state in states)
    shown = [row for row in fields if not row["hidden"] and row.get("record") != "step"]
    if query.helpformat:
        return in_columns([f"%{row['letter']}" for row in shown if row["letter"]], 5, 8, " ")
    return in_columns([row["name"] for row in shown], end=" ")


def completions(table: OptionTable, prefix: str) -> str:
    """Text of --autocomplete=PREFIX. It lists matching options, or the words of an option's value."""
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
    """Words to which a shell may complete an option of ``command``."""
    options = [option for option in load(command).options if not option.hidden]
    return tuple(
        dict.fromkeys(
            [f"-{option.short}" for option in options if option.short] + [_completion(option) for option in options]
        )
    )
