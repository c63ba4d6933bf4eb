"""Bash completion for all commands, made from the option table.

The words are in the script itself, so that a tab costs no process; only job ids, partitions and nodes are asked for.
"""

from __future__ import annotations

from typing import Iterable

from .family import FAMILY
from .filters import NODE_STATES, STATE_NAMES
from .help import completion_words
from .table import COMMANDS, Option, load

ALL = (*COMMANDS, *FAMILY)
#: What an option's value is completed with, by the long name that says what it is: a shell function or "words".
_DYNAMIC = {
    "partition": "partitions", "partitions": "partitions", "nodelist": "nodes", "exclude": "nodes", "node": "nodes",
    "nodes": "nodes", "jobs": "jobs", "jobid": "jobs", "job": "jobs", "user": "users", "users": "users",
    "uid": "users", "output": "files", "error": "files", "input": "files", "chdir": "folders", "nodefile": "files",
    "export-file": "files", "program": "files", "dependency": "dependencies", "multi-prog": "files",
}  # fmt: skip
#: What the words that are no options are.
_OPERANDS = {
    "sbatch": "files", "srun": "commands", "salloc": "commands", "scancel": "jobs", "sattach": "jobs",
    "sbcast": "files", "sstat": "jobs", "seff": "jobs", "swait": "jobs", "scrontab": "files",
}  # fmt: skip
_VERBS = {
    "scontrol": "callerid cancel_reboot completing create delete getaddrs hold listjobs liststeps listpids notify ping "
                "reconfigure release requeue requeuehold resume schedloglevel setdebug setdebugflags show shutdown "
                "suspend takeover token top uhold update version wait_job write",
    "sacctmgr": "add archive clear delete dump help list load modify ping reconfigure show shutdown version",
    "sreport": "cluster help job reservation time user version",
}  # fmt: skip
_ENTITIES = ("account associations cluster configuration event federation problem qos resource reservation "
             "runawayjobs stats transaction tres user wckey")  # fmt: skip
#: Words behind a verb.
_BEHIND = {
    "scontrol": {"show": "aliases assoc_mgr bbstat burstbuffer config daemons dwstat federation hostlist "
                         "hostlistsorted hostnames job licenses node partition reservation slurmd step topology",
                 "update": "job= jobid= name= nodename= partitionname= reservationname= stepid="},
    "sacctmgr": dict.fromkeys(("show", "list"), _ENTITIES),
    "sreport": {"cluster": "AccountUtilizationByQOS AccountUtilizationByUser UserUtilizationByAccount "
                           "UserUtilizationByWckey Utilization WCKeyUtilizationByUser",
                "job": "SizesByAccount SizesByAccountAndWcKey SizesByWcKey", "user": "TopUsage",
                "reservation": "Utilization", "time": "Hours HourPer Minutes MinPer Percent Seconds SecPer"},
}  # fmt: skip
_JOB_VERBS = "hold|release|requeue|requeuehold|resume|suspend|uhold|wait_job|job|top|listpids|notify"

_HEAD = """# bash completion for the Slurm commands of slurmsky; made by: slurmsky completion bash
# Use it:  source <(slurmsky completion bash)

_slurmsky_words() { # text, words: those that go on from the text
    COMPREPLY=($(compgen -W "$2" -- "$1"))
}

_slurmsky_list() { # text, words: the same behind the last comma
    local before=${1%"${1##*,}"}
    COMPREPLY=($(compgen -P "$before" -W "$2" -- "${1##*,}"))
}

_slurmsky_value() { # text, kind
    case $2 in
    partitions) _slurmsky_list "$1" "$(sinfo -h -o %R 2>/dev/null)" ;;
    nodes) _slurmsky_list "$1" "$(sinfo -h -N -o %N 2>/dev/null | sort -u)" ;;
    jobs) _slurmsky_list "$1" "$(squeue -h -o %i --me 2>/dev/null)" ;;
    users) COMPREPLY=($(compgen -u -- "$1")) ;;
    files) COMPREPLY=($(compgen -f -- "$1")) && compopt -o filenames 2>/dev/null ;;
    folders) COMPREPLY=($(compgen -d -- "$1")) && compopt -o filenames 2>/dev/null ;;
    commands) COMPREPLY=($(compgen -c -- "$1")) ;;
    dependencies)
        if [[ $1 == *:* ]]; then
            COMPREPLY=($(compgen -W "$(squeue -h -o %i --me 2>/dev/null)" -- "${1##*:}"))
        else
            _slurmsky_words "$1" "after: afterany: afterburstbuffer: aftercorr: afternotok: afterok: singleton"
            compopt -o nospace 2>/dev/null
        fi
        ;;
    =*) _slurmsky_list "$1" "${2#=}" ;;
    esac
}

_slurmsky() {
    local command=${1##*/} word=$2 before=$3 options= kinds= operand= verbs= behind= option kind
    COMPREPLY=()
"""
_TAIL = """    # --name=value: readline breaks the word at "="; take it together again.
    if [[ $before == "=" && $COMP_CWORD -ge 2 ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $word == "=" ]]; then
        word=
    elif [[ $word == --*=* ]]; then
        before=${word%%=*} word=${word#*=}
    fi
    for kind in $kinds; do
        option=${kind%%@*}
        if [[ $before == "$option" ]]; then
            kind=${kind#*@}
            _slurmsky_value "$word" "${kind//+/ }"
            return
        fi
    done
    if [[ $word == -* ]]; then
        _slurmsky_words "$word" "$options"
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    for kind in $behind; do
        if [[ $before == "${kind%%@*}" ]]; then
            kind=${kind#*@}
            _slurmsky_words "$word" "${kind//+/ }"
            return
        fi
    done
    if [[ $command == scontrol && $before == @(@JOBS@) ]]; then
        _slurmsky_value "$word" jobs
    elif [[ $verbs ]]; then
        _slurmsky_words "$word" "$verbs"
    else
        _slurmsky_value "$word" "$operand"
    fi
}

complete -o default -F _slurmsky @ALL@
"""


def bash() -> str:
    """The script, for bash 4 and later."""
    lines = [_HEAD.rstrip("\n"), "    case $command in"]
    for command in ALL:
        lines.append(f"    {command})")
        lines.append(f"        options={_quoted(completion_words(command))}")
        lines.append(f"        kinds={_quoted(_kinds(command))}")
        if command in _OPERANDS:
            lines.append(f"        operand={_OPERANDS[command]}")
        if command in _VERBS:
            lines.append(f"        verbs={_quoted(_VERBS[command].split())}")
            behind = (f"{verb}@{words.replace(' ', '+')}" for verb, words in _BEHIND[command].items())
            lines.append(f"        behind={_quoted(behind)}")
        lines.append("        ;;")
    lines.append("    esac")
    return "\n".join(lines) + "\n" + _TAIL.replace("@JOBS@", _JOB_VERBS).replace("@ALL@", " ".join(ALL))


def _quoted(words: Iterable[str]) -> str:
    return "'" + " ".join(words) + "'"


def _kinds(command: str) -> Iterable[str]:
    """``--option@kind`` for each option whose value can be completed; =a+b+c are words."""
    for option in load(command).options:
        kind = _kind(option)
        if not kind or not option.long or option.argument == "none":
            continue
        yield f"--{option.long}@{kind}"
        if option.short:
            yield f"-{option.short}@{kind}"


def _kind(option: Option) -> str:
    if option.kind.startswith("enum:"):
        words = [word for word in option.kind[5:].split(";") if word.replace("-", "").replace("_", "").isalnum()]
        return "=" + "+".join(words) if words else ""
    if option.reader == "states":
        names = NODE_STATES if option.command == "sinfo" else STATE_NAMES
        return "=" + "+".join(dict.fromkeys(name for name in names if name.replace("_", "").isalnum()))
    return _DYNAMIC.get(option.name, "")
