"""Readers for submit options: keywords and Slurm's small languages.

A reader converts an invalid value to a CommandError with slurm_opt.c's text for that option, so no other module needs
these texts. Language modules are imported on use: a command needs two or three of them.

The module exceeds 400 lines because it is the registry of readers, a short function for each argument language.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Callable, Optional

from ..language.syntax_errors import LanguageError, TimeSpecError
from ..model.spec import INFINITE
from .usage_errors import USAGE, CommandError, Printed
from .values import READERS, Item, Reader, reader, text, whole

INVALID_TRES = "Invalid Trackable RESource (TRES) specification"

# ---------------------------------------------------------------- words of a small set


def _prefix_of(word: str, names: tuple[str, ...]) -> Optional[str]:
    """Name that ``word`` abbreviates, in any case."""
    lower = word.lower()
    return next((name for name in names if lower and name.lower().startswith(lower)), None)


@reader
def open_mode(item: Item) -> str:
    """Mode of output files, by its first letter."""
    mode = {"a": "append", "t": "truncate"}.get(item.value[:1].lower())
    if mode is None:
        raise item.error()
    return mode


@reader
def exclusive(item: Item) -> dict[str, Any]:
    """Value of --exclusive: none, or user, mcs, topo. "exclusive" and "oversubscribe" are values of SLURM_EXCLUSIVE."""
    word = item.value.lower()
    if word == "oversubscribe":
        return {"oversubscribe": True, "exclusive": None}
    if word in ("", "exclusive"):
        return {"exclusive": "", "oversubscribe": False}
    if word not in ("user", "mcs", "topo"):
        raise item.error()
    return {"exclusive": word, "oversubscribe": False}


@reader
def oversubscribe(item: Item) -> dict[str, Any]:
    """Value of --oversubscribe, which resets --exclusive."""
    return {"oversubscribe": True, "exclusive": None}


@reader
def no_kill(item: Item) -> bool:
    word = item.value.lower()
    if word in ("", "set"):
        return True
    if word in ("off", "no"):
        return False
    raise item.error()


@reader
def requeue(item: Item) -> dict[str, bool]:
    return {"requeue": True, "expedited_requeue": item.value.lower() == "expedite"}


@reader
def no_requeue(item: Item) -> bool:
    return False


@reader
def bell(item: Item) -> str:
    return "always"


@reader
def no_bell(item: Item) -> str:
    return "never"


@reader
def send_libs(item: Item) -> str:
    if item.text is None or item.text.lower() in ("y", "yes"):
        return "yes"
    if item.text.lower() in ("n", "no"):
        return "no"
    raise item.error()


@reader
def gres_flags(item: Item) -> str:
    known = (
        "allow-task-sharing",
        "disable-binding",
        "enforce-binding",
        "multiple-tasks-per-sharing",
        "one-task-per-sharing",
    )
    words = [word.strip().lower() for word in item.value.split(",")]
    if not all(word in known for word in words):
        raise item.error(f"Invalid --gres-flags specification: {item.value}")
    return ",".join(words)


@reader
def profile(item: Item) -> str:
    """Profile types, separated by commas.

    Source: acct_gather_profile_from_string.
    """
    kinds = {
        "none": "None",
        "all": "All",
        "energy": "Energy",
        "task": "Task",
        "lustre": "Lustre",
        "filesystem": "Lustre",
        "network": "Network",
    }
    words = [word.strip().lower() for word in item.value.split(",") if word.strip()]
    if not words or not all(word in kinds for word in words):
        raise item.error(f"invalid --profile={item.value} option")
    for alone in ("none", "all"):
        if alone in words:
            return kinds[alone]
    return ",".join(dict.fromkeys(kinds[word] for word in words))


@reader
def accel_bind(item: Item) -> dict[str, Any]:
    if not item.value or not set(item.value.lower()) <= set("gmnv"):
        raise item.error()
    return text(item)  # type: ignore[no-any-return]


@reader
def compress(item: Item) -> dict[str, Any]:
    """Store a compression; report an unknown algorithm and ignore it.

    Source: parse_compress_type.
    """
    known = item.value.lower() in ("", "lz4", "none")
    warning = (
        ()
        if known
        else (f"{item.command}: error: Compression type '{item.value}' unknown, disabling compression support.",)
    )
    return {"recorded": (("compress", item.value),), "warnings": warning}


@reader
def block_size(item: Item) -> dict[str, Any]:
    """Store sbcast --size; report an invalid size and ignore it.

    Source: sbcast/opts.c _map_size.
    """
    digits = re.match(r"\s*[+-]?\d+", item.value)
    rest = item.value[digits.end() :] if digits else item.value
    valid = rest[:1] in ("", "k", "K", "m", "M") and not (digits and "-" in digits[0])
    warnings = () if valid else ("size specification is invalid, ignored",)
    return {"recorded": (("size", item.value),), "warnings": warnings}


@reader
def x11(item: Item) -> str:
    word = _prefix_of(item.value, ("all", "batch", "first", "last")) if item.text else "all"
    if word is None:
        raise item.error()
    return word


@reader
def hint(item: Item) -> str:
    return item.value  # checks.py validates it


# ---------------------------------------------------------------- languages


def _language(item: Item, parse: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Return ``parse(text)``, or raise a CommandError. The message is the language's, or the option's usual one."""
    try:
        return parse(item.value, *args, **named)
    except LanguageError as fault:
        raise refused(item, fault) from None


def refused(item: Item, fault: LanguageError) -> CommandError:
    """Error with Slurm's lines for an invalid text."""
    usual = f"{item.command}: error: Invalid --{item.option.name} specification"
    own = f"{item.command}: error: {fault.message}"
    kind = item.option.reader
    if isinstance(fault, TimeSpecError):
        # parse_time.c prints its line without prefix; for the empty text it prints none.
        lines: tuple[str, ...] = (f"Invalid time specification (pos={fault.pos}): {fault.text}", usual)
        return CommandError(lines if fault.text else lines[1:], USAGE)
    if kind in ("nodes", "gpu_bind", "mem_bind", "acctg_freq"):
        return CommandError(tuple(f"{item.command}: error: {line}" for line in fault.message.split("\n")), USAGE)
    if kind == "cpu_bind":
        return CommandError((own, f"{item.command}: fatal: Failed to parse --cpu-bind= values."), 1)
    if kind == "rlimits":
        return CommandError((own, f"{item.command}: error: --propagate={item.value} is not valid."), 1)
    if kind == "cpu_freq":
        return CommandError((own, f"{item.command}: error: Invalid --cpu-freq argument"), USAGE)
    return CommandError((own, usual) if fault.message else (usual,), USAGE)


def _of_language(module: str, parse: str, value: Callable[[Any], Any]) -> Reader:
    """Reader of an argument that is a text of one language."""
    return lambda item: value(_language(item, getattr(import_module(f"..language.{module}", __package__), parse)))


READERS.update(
    acctg_freq=_of_language("acctgfreq", "parse", str),
    cpu_freq=_of_language("cpufreq", "parse", str),
    delay_boot=_of_language("timelimit", "parse", int),
    gpu_bind=_of_language("gpubind", "parse", str),
    mib=_of_language("memory", "parse_mib", int),
    signal=_of_language("signalspec", "parse", str),
)


@reader
def time(item: Item) -> int:
    """Minutes; 0 means no limit."""
    from ..language import timelimit

    return int(_language(item, timelimit.parse)) or INFINITE


@reader
def epoch(item: Item) -> int:
    from ..language import timespec

    moment = int(_language(item, timespec.parse, item.context.now, tz=item.context.timezone))
    if not moment:
        raise item.error()
    return moment


@reader
def nodes(item: Item) -> dict[str, Any]:
    from ..language import nodecount

    found = _language(item, nodecount.parse)
    return {"nodes": str(found), "nodes_min": found.min, "nodes_max": found.max}


@reader
def mail_type(item: Item) -> tuple[str, ...]:
    from ..language import mailtype

    wanted = _language(item, mailtype.parse)
    return tuple(event for event in mailtype.EVENTS if event in wanted)


@reader
def distribution(item: Item) -> str:
    """Task distribution; SLURM_DIST_PLANESIZE is the default plane size."""
    from ..language import distribution as language

    return str(_language(item, language.parse, item.context.env.get("SLURM_DIST_PLANESIZE", "")))


@reader
def rlimits(item: Item) -> str:
    from ..language import rlimits as language

    return "ALL" if item.text is None else str(_language(item, language.parse))


_BIND_HELP = """\
Ways to bind tasks to {what} (--{option}=, comma separated):
    q[uiet], v[erbose]     print nothing, or the binding
    none                   do not bind
    rank                   by task number
    {map}:LIST          one entry for each task of the node
    {mask}:LIST         one mask for each task of the node
{more}    help                   print this
"""
_CPU_WORDS = """\
    sockets, cores, threads, ldoms
                           whole units of that kind
    rank_ldom, map_ldom:LIST, mask_ldom:LIST
                           the same by NUMA node
"""
_MEM_WORDS = """\
    local                  what is next to the CPUs
    sort, nosort           sort free pages first, or not
    prefer                 use other nodes when these are full
"""


@reader
def cpu_bind(item: Item) -> str:
    from ..language import cpubind

    if item.value.lower() == "help":
        raise Printed(
            _BIND_HELP.format(what="CPUs", option="cpu-bind", map="map_cpu", mask="mask_cpu", more=_CPU_WORDS)
        )
    return str(_language(item, cpubind.parse))


@reader
def mem_bind(item: Item) -> str:
    from ..language import membind

    if item.value.lower() == "help":
        raise Printed(
            _BIND_HELP.format(what="memory", option="mem-bind", map="map_mem", mask="mask_mem", more=_MEM_WORDS),
            USAGE,
        )
    return str(_language(item, membind.parse))


@reader
def tres_bind(item: Item) -> str:
    """Binding gres/NAME:HOW, joined by "+"; for GPUs as --gpu-bind.

    Source: tres_bind.c tres_bind_verify_cmdline.
    """
    from ..language import gpubind
    from ..language.syntax_errors import BindError

    try:
        gpubind.check_tres(item.value)
    except BindError:
        raise item.error(f"Invalid --tres-bind argument: {item.value}") from None
    return item.value


@reader
def gpu_freq(item: Item) -> str:
    """GPU frequency [type=]value[,verbose].

    The value is a number of MHz, or low, medium, high or highm1.

    Source: gres.c gpu_freq checks.
    """
    for part in item.value.split(","):
        value = part.rpartition("=")[2].lower()
        if not (value.isdecimal() or value in ("low", "medium", "high", "highm1", "verbose")):
            raise item.error(f"Invalid --gpu-freq argument: gpu:{item.value}")
    return item.value


@reader
def switches(item: Item) -> str:
    """Switches COUNT[@TIME]; an invalid time is ignored.

    Source: arg_set_switches.
    """
    number = item.value.partition("@")[0]
    whole(item, "--switches", positive=True, text=number)
    return item.value


@reader
def extra_node_info(item: Item) -> dict[str, Any]:
    """Node shape sockets[:cores[:threads]], each a count or ``*``.

    Source: get_resource_arg_range.
    """
    found: dict[str, Any] = {}
    names = ("sockets_per_node", "cores_per_socket", "threads_per_core")
    for name, place, word in zip(names, ("first", "second", "third"), item.value.split(":")):
        if word != "*":
            found[name] = whole(item, f"{place} arg of -B", positive=True, text=word)
    return found


@reader
def get_user_env(item: Item) -> str:
    """Argument [TIMEOUT][L|S], which later releases than 24.05 refuse."""
    if item.text is not None and not re.fullmatch(r"[0-9]*[LlSs]?", item.text):
        raise item.error()
    return item.value


# ---------------------------------------------------------------- srun and salloc


@reader
def het_group(item: Item) -> str:
    """Numbers and ranges of het components.

    "+" joins components that share an MPI world. Source: srun/opt.c.
    """
    bad = next((part for part in re.split(r"[,+]", item.value) if not re.fullmatch("[0-9]+(-[0-9]+)?", part)), None)
    if bad is not None:
        raise item.error(
            f"_parse_single_range: Invalid range: `{bad}'",
            f"Invalid --het-group value: {item.value}",
            exit_code=1,
        )
    return item.value


@reader
def kill_command(item: Item) -> int:
    """Signal number, by default SIGTERM."""
    from ..language import signalspec

    if item.text is None:
        return 15
    try:
        return signalspec.parse_signal(item.text)
    except LanguageError:
        raise item.error() from None


#: Values of srun's --mpi; agent/srun starts tasks for each of these.
MPI_TYPES = ("pmix", "none", "pmi2")
#: other names of pmix: the library of the program's MPI determines the release
PMIX_VERSIONS = ("pmix_v4", "pmix_v5")


@reader
def mpi(item: Item) -> str:
    """One of MPI_TYPES. slurm_mpi.c and the plugin loader have the error lines."""
    name = item.value
    if name == "list":
        known = "".join(f"\t{known}\n" for known in MPI_TYPES)
        versions = ",".join(PMIX_VERSIONS)
        raise Printed(f"MPI plugin types are...\n{known}specific pmix plugin versions available: {versions}\n")
    if name and name not in MPI_TYPES + PMIX_VERSIONS:
        raise item.error(
            f"Couldn't find the specified plugin name for mpi/{name} looking at all files",
            f"cannot find mpi plugin for mpi/{name}",
            f"MPI: Cannot create context for mpi/{name}",
            "MPI: Unable to load any plugin",
            f"Invalid MPI type '{name}', --mpi=list for acceptable types",
            exit_code=1,
        )
    return name


@reader
def gres(item: Item) -> str:
    if item.value.lower() in ("help", "list"):
        raise Printed("Valid gres options are:\ngpu[[:type]:count]\n")
    from ..language import gres as gres_language

    try:
        gres_language.parse("" if item.value.lower() == "none" else item.value)
    except LanguageError:
        if not item.value.startswith(":"):  # slurmctld refuses a missing name
            raise item.error(INVALID_TRES, exit_code=1) from None
    return item.value
