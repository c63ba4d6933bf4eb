"""Shell completion from the option table.

The module has the words, and the scripts of bash and zsh. A script contains the words, so that a completion starts no
process; only job ids, partitions and nodes are queried.
"""

from __future__ import annotations

import pkgutil
import re
from typing import Callable, Iterable, Iterator, Mapping, Sequence

from .family import FAMILY
from .filters import NODE_STATES, STATE_NAMES
from .help import completion_words
from .table import COMMANDS, Option, load

ALL = (*COMMANDS, *FAMILY)
#: Completion of an option's value, by the option's long name: a shell function or "words".
_DYNAMIC = {
    "partition": "partitions",
    "partitions": "partitions",
    "nodelist": "nodes",
    "exclude": "nodes",
    "node": "nodes",
    "nodes": "nodes",
    "jobs": "jobs",
    "jobid": "jobs",
    "job": "jobs",
    "user": "users",
    "users": "users",
    "uid": "users",
    "output": "files",
    "error": "files",
    "input": "files",
    "chdir": "folders",
    "nodefile": "files",
    "export-file": "files",
    "program": "files",
    "dependency": "dependencies",
    "multi-prog": "files",
    "qos": "qos",
    "account": "accounts",
    "accounts": "accounts",
    "reservation": "reservations",
    "constraint": "features",
    "mpi": "=none+pmi2+pmix",
    "json": "=v0.0.41+v0.0.42+v0.0.43+v0.0.44+list",
    "Format": "fields",
}
#: Commands whose --format takes field names instead of letters.
_NAMED_FIELDS = ("sacct", "sstat", "sshare")
_SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP ALRM"  # fmt: skip
#: Completion of operands.
OPERANDS = {
    "sbatch": "files", "srun": "commands", "salloc": "commands", "scancel": "jobs", "sattach": "jobs",
    "sbcast": "files", "sstat": "jobs", "seff": "past", "swait": "jobs", "scrontab": "files",
    "slurmsky": "files",
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
#: Words after a verb.
_WORDS_AFTER = {
    "scontrol": {"show": "aliases assoc_mgr bbstat burstbuffer config daemons dwstat federation hostlist "
                         "hostlistsorted hostnames job licenses node partition reservation resources slurmd step "
                         "topology",
                 "setdebug": "quiet fatal error info verbose debug debug2 debug3 debug4 debug5",
                 "create": "reservation", "write": "batch_script",
                 "state": "DOWN DRAIN FAIL FUTURE IDLE INACTIVE NORESP RESUME UNDRAIN UP",
                 "update": "job= jobid= name= nodename= partitionname= reservationname= stepid="},
    "sacctmgr": dict.fromkeys(("show", "list"), _ENTITIES),
    "sreport": {"cluster": "AccountUtilizationByQOS AccountUtilizationByUser UserUtilizationByAccount "
                           "UserUtilizationByWckey Utilization WCKeyUtilizationByUser",
                "job": "SizesByAccount SizesByAccountAndWcKey SizesByWcKey", "user": "TopUsage",
                "reservation": "Utilization", "time": "Hours HourPer Minutes MinPer Percent Seconds SecPer"},
}  # fmt: skip
#: Queries for the words after these words, also after "update jobid=". ``past`` are today's jobs, also ended ones.
_NAMED = {
    "scontrol": {
        "jobs": "hold release resume suspend uhold wait_job job jobid resources top listpids notify",
        "past": "requeue requeuehold batch_script",
        "partitions": "partition partitionname",
        "nodes": "node nodename listjobs liststeps reqnodelist excnodelist",
        "reservations": "reservation reservationname", "qos": "qos", "accounts": "account",
        "dependencies": "dependency", "features": "features",
    },
    "slurmsky": {"past": "why report", "jobs": "tunnel"},
}  # fmt: skip
#: Keys that can be updated, by the first key.
UPDATES = {
    "job*": "Account= ArrayTaskThrottle= Comment= Deadline= Dependency= EligibleTime= ExcNodeList= Features= Gres= "
            "MailType= MailUser= MinCPUsNode= MinMemoryCPU= MinMemoryNode= Name= Nice= NumCPUs= NumNodes= NumTasks= "
            "OverSubscribe= Partition= Priority= QOS= ReqNodeList= Requeue= ReservationName= StartTime= StdErr= StdIn= "
            "StdOut= TimeLimit= TimeMin=",
    "node*": "Comment= Reason= State=",
    "partition*": "State=",
    "reservation*": "Accounts= Duration= EndTime= Flags= NodeCnt= Nodes= StartTime= Users=",
}  # fmt: skip

#: subcommands of slurmsky with their options and choices
Own = Mapping[str, Sequence[str]]


def verbs_of(command: str, own: Own) -> list[str]:
    """First operands of a command."""
    return list(own) if command == "slurmsky" else _VERBS.get(command, "").split()


def behind(command: str, own: Own) -> Iterator[tuple[str, str]]:
    """Words of a command, each with the completion behind it.

    The words are in lower case. The completion is the name of a kind, or +a+b+c for words.
    """
    after: Mapping[str, Iterable[str]] = {verb: words.split() for verb, words in _WORDS_AFTER.get(command, {}).items()}
    if command == "slurmsky":
        after = {**{verb: words for verb, words in own.items() if words}, "man": ALL, "help": own}
    for verb, words in after.items():
        yield verb, "".join(f"+{word}" for word in words)
    for kind, verbs in _NAMED.get(command, {}).items():
        for verb in verbs.split():
            yield verb, kind


def bash(own: Own) -> str:
    """The completion script for bash 4 and later."""
    return _filled(
        "bash",
        cases(own, lambda words: f"'{' '.join(words)}'"),
        "            {key}) _slurmsky_words \"$word\" '{words}' ;;",
    )


def zsh(own: Own) -> str:
    """The completion script for zsh 5 and later."""
    return _filled(
        "zsh",
        cases(own, lambda words: "(" + " ".join(f"'{word}'" for word in words) + ")"),
        "            {key}) compadd -S '' - {words} ;;",
    )


def template(shell: str) -> str:
    """Text of ``completion.SHELL`` with placeholders ``@NAMES@``."""
    # pkgutil instead of a path, because the package also runs from a .pyz
    return (pkgutil.get_data("slurmsky.options", f"completion.{shell}") or b"").decode()


def _filled(shell: str, lines: Iterable[str], updated: str) -> str:
    parts = {
        "CASES": "\n".join(lines),
        "UPDATES": "\n".join(updated.format(key=key, words=words) for key, words in UPDATES.items()),
        "ALL": " ".join((*ALL, "slurmsky")),
    }
    return re.sub(r"@([A-Z_]+)@", lambda found: parts[found[1]], template(shell))


def cases(own: Own, written: Callable[[Iterable[str]], str]) -> Iterator[str]:
    """The ``case`` that sets a command's variables in bash and zsh. ``written`` formats a list of words."""
    yield "    case $command in"
    for command in (*ALL, "slurmsky"):
        yield f"    {command})"
        if command != "slurmsky":
            yield f"        options={written(completion_words(command))}"
            yield f"        kinds={written(kinds(command))}"
        if command in ("squeue", "sinfo"):
            yield "        helps=--helpFormat"
        if command in OPERANDS:
            yield f"        operand={OPERANDS[command]}"
        if verbs_of(command, own):
            yield f"        verbs={written(verbs_of(command, own))}"
            yield f"        behind={written('@'.join(entry) for entry in behind(command, own))}"
        yield "        ;;"
    yield "    esac"


def kinds(command: str) -> Iterable[str]:
    """``--option@kind`` for each option with a completable value. The kind ``=a+b+c`` lists words."""
    for option in load(command).options:
        kind = kind_of(option)
        if not kind or not option.long or option.argument == "none":
            continue
        yield f"--{option.long}@{kind}"
        if option.short:
            yield f"-{option.short}@{kind}"


def kind_of(option: Option) -> str:
    """Completion of an option's value. It is a name of ``_DYNAMIC``, =a+b+c for words, or "" for none."""
    if option.kind.startswith("enum:"):
        words = [word for word in option.kind[5:].split(";") if word.replace("-", "").replace("_", "").isalnum()]
        return "=" + "+".join(words) if words else ""
    if option.reader == "states":
        names = NODE_STATES if option.command == "sinfo" else STATE_NAMES
        return "=" + "+".join(dict.fromkeys(name for name in names if name.replace("_", "").isalnum()))
    if option.name == "signal" and option.command == "scancel":
        return "=" + _SIGNALS.replace(" ", "+")
    if option.name == "format" and option.command in _NAMED_FIELDS:
        return "fields"
    if option.name == "jobs" and option.command == "sacct":
        return "past"
    if option.name == "yaml":
        return _DYNAMIC["json"]
    return _DYNAMIC.get(option.name, "")
