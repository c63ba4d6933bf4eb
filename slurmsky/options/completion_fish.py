"""The completion script for fish, with the words of ``completion`` and each option's help."""

from __future__ import annotations

from typing import Iterable, Iterator

from .completion import ALL, NAMED, OF_JOBS, OPERANDS, UPDATES, Own, behind_of, kind_of, verbs_of
from .table import Option, load

_HEAD = """# fish completion for the Slurm commands of slurmsky; made by: slurmsky completion fish
# Use it:  slurmsky completion fish | source    in ~/.config/fish/config.fish

function __slurmsky_list # words on stdin; those that go on behind the last comma
    set -l before (commandline -ct | string match -r '(?:.*[=,])' | string replace -r '^-[^=]*=' '')
    while read -l word
        echo "$before$word"
    end
end
function __slurmsky_partitions; sinfo -h -o %R 2>/dev/null | __slurmsky_list; end
function __slurmsky_nodes; sinfo -h -N -o %N 2>/dev/null | sort -u | __slurmsky_list; end
function __slurmsky_jobs; squeue -h -o %i --me 2>/dev/null | string replace -r '_\\\\[.*' '' | __slurmsky_list; end
function __slurmsky_qos; sacctmgr -nP show qos format=name 2>/dev/null | __slurmsky_list; end
function __slurmsky_accounts; sacctmgr -nP show account format=account 2>/dev/null | __slurmsky_list; end
function __slurmsky_features; sinfo -h -o %f 2>/dev/null | string split , | string match -v '(null)'; end
function __slurmsky_reservations
    scontrol -o show reservation 2>/dev/null | string replace -rf '^ReservationName=(\\\\S+).*' '$1' | __slurmsky_list
end
function __slurmsky_fields; $argv 2>/dev/null | string split -n ' ' | __slurmsky_list; end
function __slurmsky_users; __fish_complete_users | string replace -r '\\t.*' '' | __slurmsky_list; end
function __slurmsky_files; __fish_complete_path (commandline -ct | string replace -r '^-[^=]*=' ''); end
function __slurmsky_folders; __fish_complete_directories (commandline -ct | string replace -r '^-[^=]*=' ''); end
function __slurmsky_commands; __fish_complete_subcommand; end
function __slurmsky_dependencies
    set -l word (commandline -ct | string replace -r '^-[^=]*=' '')
    if string match -q '*:*' -- $word
        squeue -h -o %A --me 2>/dev/null | string replace -r '^' (string replace -r '[^:]*$' '' -- $word)
    else
        printf '%s\\n' after: afterany: afterburstbuffer: aftercorr: afternotok: afterok: singleton
    end
end
function __slurmsky_words; printf '%s\\n' $argv | __slurmsky_list; end
function __slurmsky_first; test (count (commandline -opc)) -eq 1; end
function __slurmsky_behind; set -l words (commandline -opc); contains -- $words[-1] $argv; end
function __slurmsky_under; set -l words (commandline -opc); set -q words[2]; and contains -- $words[2] $argv; end
function __slurmsky_updates; set -l words (commandline -opc)
    test (count $words) -ge 3; and test $words[2] = update; and string match -q -- $argv[1] $words[3]
end
"""


def fish(own: Own) -> str:
    """The completion script for fish 3 and later."""
    lines = [_HEAD]
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
        for verb, words in behind_of(command, own).items():
            yield f"complete -c {command} -f -n '{test} {verb}' -a {_quoted(words)}"
    elif operand not in ("", "files"):
        yield f"complete -c {command} -f -a '(__slurmsky_{operand})'"
    if command == "slurmsky":
        for verb in OF_JOBS:
            yield f"complete -c slurmsky -f -n '__slurmsky_under {verb}' -a '(__slurmsky_jobs)'"
    if command == "scontrol":
        for kind, names in NAMED.items():
            yield f"complete -c scontrol -f -n '__slurmsky_behind {names.replace('|', ' ')}' -a '(__slurmsky_{kind})'"
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
