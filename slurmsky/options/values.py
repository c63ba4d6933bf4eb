"""From an option's text to field values: one small reader per kind of value, named in the table's ``reader`` column.

A reader gets an Item and returns the value of the option's one field, or a dict when it fills several. What it refuses
becomes a CommandError here, in the words slurm_opt.c uses for that option, so no other place knows them.
Source: slurm src/common/slurm_opt.c (arg_set_*), src/common/proc_args.c.
"""
from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Callable, Mapping, Optional

from ..language.errors import LanguageError, TimeSpecError
from ..model.spec import INFINITE
from .errors import USAGE, CommandError, Printed, failure
from .table import Option


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


@dataclass(frozen=True)
class Context:
    """The caller's surroundings, as values. ``read_file`` gives a file's bytes or raises OSError."""

    now: float = 0.0
    timezone: Optional[tzinfo] = None
    cwd: str = "/"
    env: Mapping[str, str] = None  # type: ignore[assignment]
    read_file: Callable[[str], bytes] = _no_file
    is_root: bool = False
    find_user: Callable[[str], Optional[int]] = lambda name: int(name) if name.isdigit() else None
    find_group: Callable[[str], Optional[int]] = lambda name: int(name) if name.isdigit() else None
    max_array_size: int = 1001

    def __post_init__(self) -> None:
        if self.env is None:
            object.__setattr__(self, "env", {})

    @property
    def error_exit(self) -> int:
        """Exit code of errors found after parsing; SLURM_EXIT_ERROR replaces the usual 1."""
        text = self.env.get("SLURM_EXIT_ERROR", "").strip()
        code = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else 0
        return code % 256 or 1


@dataclass(frozen=True)
class Item:
    """One option met with one text. ``text`` None: given without argument."""

    option: Option
    text: Optional[str]
    context: Context
    command: str

    @property
    def value(self) -> str:
        """The text, "" for none."""
        return self.text or ""

    def error(self, *messages: str, exit_code: int = USAGE) -> CommandError:
        """The messages as ``command: error:`` lines; without any, the option's usual one."""
        return failure(self.command, *(messages or (f"Invalid --{self.option.name} specification",)),
                       exit_code=exit_code)


Reader = Callable[[Item], Any]
READERS: dict[str, Reader] = {}


def _reader(function: Reader) -> Reader:
    READERS[function.__name__.strip("_")] = function
    return function


def read(option: Option, text: Optional[str], context: Context, command: str = "") -> dict[str, Any]:
    """Field values that ``text`` gives to ``option``'s fields. Raises CommandError."""
    item = Item(option, text, context, command or option.command)
    value = READERS[option.reader](item)
    return value if isinstance(value, dict) else {option.field: value}


# ---------------------------------------------------------------- plain values

@_reader
def flag(item: Item) -> bool:
    return True


@_reader
def count(item: Item) -> Any:
    """Repeatable flag; from the environment a number. The caller adds up what the command line repeats."""
    return 1 if item.text is None else max(0, leading_int(item.text))


@_reader
def switch(item: Item) -> dict[str, Any]:
    """A flag that is only kept: {recorded: ((name, ""),)}."""
    return {"recorded": ((item.option.name, ""),)}


@_reader
def text(item: Item) -> Any:
    if item.option.field in ("recorded", "site_options"):
        return {item.option.field: ((item.option.name or item.option.env[0], item.value),)}
    return item.value


def leading_int(text: str) -> int:
    """The number that ``text`` begins with, 0 when there is none: C's strtol, held in 64 bits."""
    match = re.match(r"\s*([+-]?)0*([0-9]*)", text)
    assert match is not None
    digits = match.group(2)
    value = 2**63 - 1 if len(digits) > 19 else min(int(digits or "0"), 2**63 - 1)
    return -value if match.group(1) == "-" else value


def whole(item: Item, name: str, positive: bool, text: Optional[str] = None) -> int:
    """The whole text as a decimal number, > 0 or >= 0; 32 bits as in C. Source: proc_args.c parse_int."""
    text = item.value if text is None else text
    bad = item.error(f'Invalid numeric value "{text}" for {name}.', exit_code=1)
    # strtol of nothing but a sign or blanks consumes nothing, and the leftover is what makes it bad;
    # of the empty string it gives 0.
    if text and not re.fullmatch(r"[ \t\n\v\f\r]*[+-]?[0-9]+", text):
        raise bad
    value = leading_int(text)
    if value < 0 or (positive and value == 0):
        raise bad
    if value == 2**63 - 1:
        raise item.error(f"Numeric argument ({value}) to big for {name}.", exit_code=1)
    return (value + 2**31) % 2**32 - 2**31


@_reader
def positive(item: Item) -> int:
    return whole(item, f"--{item.option.name}", positive=True)


@_reader
def positive_text(item: Item) -> str:
    return str(positive(item))


@_reader
def nonnegative(item: Item) -> int:
    return whole(item, f"--{item.option.name}", positive=False)


@_reader
def positive_or_star(item: Item) -> Optional[int]:
    return None if item.value == "*" else whole(item, f"--{item.option.name}", positive=True)


@_reader
def nonnegative_or_star(item: Item) -> Optional[int]:
    return None if item.value == "*" else whole(item, f"--{item.option.name}", positive=True)


@_reader
def bare_one(item: Item) -> int:
    """1 when no argument is given."""
    return 1 if item.text is None else whole(item, f"--{item.option.name}", positive=False)


@_reader
def immediate(item: Item) -> int:
    return 1 if item.text is None else whole(item, "immediate", positive=False)


@_reader
def resv_ports(item: Item) -> int:
    return 0 if item.text is None else whole(item, "--resv-port", positive=False)


@_reader
def wait_all_nodes(item: Item) -> int:
    value = whole(item, "--wait-all-nodes", positive=False)
    if value > 1:
        raise item.error()
    return value


@_reader
def nice(item: Item) -> int:
    """Bare: 100. Source: arg_set_nice."""
    if item.text is None:
        return 100
    value = leading_int(item.text)
    if abs(value) > 2147483645:
        raise item.error("Invalid --nice value, out of range (+/- 2147483645)")
    return value


@_reader
def priority(item: Item) -> int:
    """TOP is the highest number there is. Source: arg_set_priority."""
    if item.value.upper() == "TOP":
        return 0xFFFFFFFE - 1
    value = leading_int(item.value)
    if value < 0:
        raise item.error("Priority must be >= 0")
    if value >= 0xFFFFFFFE:
        raise item.error("Priority must be < 4294967294")
    return value


@_reader
def yes_no(item: Item) -> bool:
    word = item.value.lower()
    if word not in ("yes", "no"):
        raise item.error()
    return word == "yes"


# ---------------------------------------------------------------- words of a small set

def _prefix_of(word: str, names: tuple[str, ...], least: int = 1) -> Optional[str]:
    """The name that ``word`` abbreviates, any case, at least ``least`` letters."""
    lower = word.lower()
    return next((name for name in names if len(lower) >= least and name.lower().startswith(lower)), None)


@_reader
def open_mode(item: Item) -> str:
    """Only the first letter is looked at."""
    mode = {"a": "append", "t": "truncate"}.get(item.value[:1].lower())
    if mode is None:
        raise item.error()
    return mode


@_reader
def exclusive(item: Item) -> dict[str, Any]:
    """Bare, or who may share: user, mcs, topo. "exclusive" and "oversubscribe" are words of SLURM_EXCLUSIVE."""
    word = item.value.lower()
    if word == "oversubscribe":
        return {"oversubscribe": True, "exclusive": None}
    if word in ("", "exclusive"):
        return {"exclusive": "", "oversubscribe": False}
    if word not in ("user", "mcs", "topo"):
        raise item.error()
    return {"exclusive": word}


@_reader
def no_kill(item: Item) -> bool:
    word = item.value.lower()
    if word in ("", "set"):
        return True
    if word in ("off", "no"):
        return False
    raise item.error()


@_reader
def requeue(item: Item) -> bool:
    return True


@_reader
def no_requeue(item: Item) -> bool:
    return False


@_reader
def bell(item: Item) -> str:
    return "always"


@_reader
def no_bell(item: Item) -> str:
    return "never"


@_reader
def send_libs(item: Item) -> str:
    if item.text is None or item.text.lower() in ("y", "yes"):
        return "yes"
    if item.text.lower() in ("n", "no"):
        return "no"
    raise item.error()


@_reader
def gres_flags(item: Item) -> str:
    known = ("allow-task-sharing", "disable-binding", "enforce-binding", "multiple-tasks-per-sharing",
             "one-task-per-sharing")
    words = [word.strip().lower() for word in item.value.split(",")]
    if not all(word in known for word in words):
        raise item.error()
    return ",".join(words)


@_reader
def profile(item: Item) -> str:
    """Comma list. Source: acct_gather_profile_from_string."""
    kinds = {"none": "None", "all": "All", "energy": "Energy", "task": "Task", "lustre": "Lustre",
             "filesystem": "Lustre", "network": "Network"}
    words = [word.strip().lower() for word in item.value.split(",") if word.strip()]
    if not words or not all(word in kinds for word in words):
        raise item.error(f"invalid --profile={item.value} option")
    for alone in ("none", "all"):
        if alone in words:
            return kinds[alone]
    return ",".join(dict.fromkeys(kinds[word] for word in words))


@_reader
def accel_bind(item: Item) -> dict[str, Any]:
    if not item.value or not set(item.value.lower()) <= set("gmnv"):
        raise item.error()
    return text(item)  # type: ignore[no-any-return]


@_reader
def compress(item: Item) -> dict[str, Any]:
    """Kept; an unknown kind is told and not used, as in parse_compress_type."""
    known = item.value.lower() in ("", "lz4", "none")
    warning = () if known else (
        f"{item.command}: error: Compression type '{item.value}' unknown, disabling compression support.",)
    return {"recorded": (("compress", item.value),), "warnings": warning}


@_reader
def x11(item: Item) -> str:
    word = _prefix_of(item.value, ("all", "batch", "first", "last")) if item.text else "all"
    if word is None:
        raise item.error()
    return word


_HINT_HELP = """\
Hints about the kind of application (--hint=):
    compute_bound      every core of each socket, one thread per core
    memory_bound       one core of each socket, one thread per core
    [no]multithread    use, or leave alone, the further hardware threads of a core
    help               print this
"""


@_reader
def hint(item: Item) -> str:
    word = item.value.lower()
    if word == "help":
        raise Printed(_HINT_HELP, 1)
    if word not in ("compute_bound", "memory_bound", "multithread", "nomultithread"):
        raise item.error(f'unrecognized --hint argument "{item.value}", see --hint=help', exit_code=1)
    return word


# ---------------------------------------------------------------- languages

def _language(item: Item, parse: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """``parse(text)``; what it refuses becomes its own line, or the option's usual one."""
    try:
        return parse(item.value, *args, **named)
    except LanguageError as fault:
        raise refused(item, fault) from None


def refused(item: Item, fault: LanguageError) -> CommandError:
    """Slurm's lines for a text that its small language does not know."""
    usual = f"{item.command}: error: Invalid --{item.option.name} specification"
    own = f"{item.command}: error: {fault.message}"
    reader = item.option.reader
    if isinstance(fault, TimeSpecError):
        # parse_time.c prints its line bare; the empty text has none.
        lines: tuple[str, ...] = (f"Invalid time specification (pos={fault.pos}): {fault.text}", usual)
        return CommandError(lines if fault.text else lines[1:], USAGE)
    if reader == "nodes":
        return CommandError((own,), USAGE)
    if reader in ("cpu_bind", "mem_bind"):
        word = f'unrecognized --{item.option.name} argument "{item.value}"'
        own = f"{item.command}: error: {fault.message or word}"
        if reader == "cpu_bind":
            return CommandError((own, f"{item.command}: fatal: Failed to parse --cpu-bind= values."), 1)
        return CommandError((own,), USAGE)
    if reader in ("gpu_bind", "gpu_freq"):
        named = f"{item.command}: error: Invalid --{item.option.name} argument: gpu:{item.value}"
        return CommandError((own, named) if fault.message else (named,), USAGE)
    if reader == "rlimits":
        last = f"{item.command}: error: --propagate={item.value} is not valid."
        return CommandError((own, last) if fault.message else (last,), 1)
    if reader == "acctg_freq":
        return CommandError((f"{usual}: {item.value}",), USAGE)
    if reader == "cpu_freq":
        first = fault.message or f'unrecognized --cpu-freq argument "{item.value}"'
        return CommandError((f"{item.command}: error: {first}",
                             f"{item.command}: error: Invalid --cpu-freq argument"), USAGE)
    return CommandError((own, usual) if fault.message else (usual,), USAGE)


@_reader
def time(item: Item) -> int:
    """Minutes; 0 means no limit."""
    from ..language import timelimit

    return int(_language(item, timelimit.parse)) or INFINITE


@_reader
def delay_boot(item: Item) -> int:
    from ..language import timelimit

    return int(_language(item, timelimit.parse))


@_reader
def epoch(item: Item) -> int:
    from ..language import timespec

    moment = int(_language(item, timespec.parse, item.context.now, tz=item.context.timezone))
    if not moment:
        raise item.error()
    return moment


@_reader
def mib(item: Item) -> int:
    from ..language import memory

    return int(_language(item, memory.parse_mib))


@_reader
def nodes(item: Item) -> dict[str, Any]:
    from ..language import nodecount

    found = _language(item, nodecount.parse)
    return {"nodes": str(found), "nodes_min": found.min, "nodes_max": found.max}


@_reader
def signal(item: Item) -> str:
    from ..language import signalspec

    return str(_language(item, signalspec.parse))


@_reader
def mail_type(item: Item) -> tuple[str, ...]:
    from ..language import mailtype

    wanted = _language(item, mailtype.parse)
    return tuple(event for event in mailtype.EVENTS if event in wanted)


@_reader
def distribution(item: Item) -> str:
    from ..language import distribution as language

    return str(_language(item, language.parse))


@_reader
def constraint(item: Item) -> str:
    """As given: an expression that no node can meet is the controller's to refuse."""
    return item.value


@_reader
def rlimits(item: Item) -> str:
    from ..language import rlimits as language

    return "ALL" if item.text is None else str(_language(item, language.parse))


@_reader
def cpu_bind(item: Item) -> str:
    from ..language import cpubind

    return str(_language(item, cpubind.parse))


@_reader
def mem_bind(item: Item) -> str:
    from ..language import membind

    return str(_language(item, membind.parse))


@_reader
def gpu_bind(item: Item) -> str:
    from ..language import gpubind

    return str(_language(item, gpubind.parse))


@_reader
def gpu_freq(item: Item) -> str:
    """[type=]value[,verbose]; value is a number of MHz or low, medium, high, highm1. Source: gres.c gpu_freq checks."""
    for part in item.value.split(","):
        value = part.rpartition("=")[2].lower()
        if not (value.isdigit() or value in ("low", "medium", "high", "highm1", "verbose")):
            raise item.error(f"Invalid --gpu-freq argument: gpu:{item.value}")
    return item.value


@_reader
def cpu_freq(item: Item) -> str:
    from ..language import cpufreq

    return str(_language(item, cpufreq.parse))


@_reader
def acctg_freq(item: Item) -> str:
    from ..language import acctgfreq

    return str(_language(item, acctgfreq.parse))


@_reader
def switches(item: Item) -> str:
    """COUNT[@TIME]; an unreadable time counts as none, as in arg_set_switches."""
    number, at, _ = item.value.partition("@")
    whole(item, "--switches", positive=True, text=number)
    return item.value


@_reader
def extra_node_info(item: Item) -> dict[str, Any]:
    """sockets[:cores[:threads]], each a count or ``*``. Source: get_resource_arg_range."""
    found: dict[str, Any] = {}
    names = ("sockets_per_node", "cores_per_socket", "threads_per_core")
    for name, place, word in zip(names, ("first", "second", "third"), item.value.split(":")):
        if word != "*":
            found[name] = whole(item, f"{place} arg of -B", positive=True, text=word)
    return found


# ---------------------------------------------------------------- files, places, people

@_reader
def chdir(item: Item) -> str:
    """Absolute: a relative path starts at the caller's folder."""
    return os.path.normpath(os.path.join(item.context.cwd, item.value)) if item.value else item.context.cwd


@_reader
def path(item: Item) -> str:
    """A file name pattern; "none" is nowhere for sbatch, and one of srun's own words for srun."""
    if item.command != "srun" and item.value.lower() == "none":
        return "/dev/null"
    return item.value


@_reader
def error_path(item: Item) -> str:
    return path(item)  # type: ignore[no-any-return]


def node_names(item: Item, name: str) -> str:
    """Hostlist of the nodes that file ``name`` lists; comments and blank lines do not count.

    A name may carry ``*N`` for N times. Source: read_config.c slurm_read_hostfile.
    """
    from ..language import hostlist

    try:
        data = item.context.read_file(os.path.join(item.context.cwd, name))
    except IsADirectoryError:
        data = b""
    except OSError as fault:
        raise item.error(f"slurm_allocate_resources error opening file {name}, {fault.strerror}",
                         exit_code=item.context.error_exit) from None
    names: list[str] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), start=1):
        words = line.partition("#")[0].strip()
        for word in filter(None, re.split(r",(?![^\[]*\])", words)):
            host, star, times = word.strip().partition("*")
            if not re.match(r"[A-Za-z0-9_\[]", host) or (star and not times.isdigit()):
                raise item.error(f"Invalid hostfile {name} contents on line {number}",
                                 exit_code=item.context.error_exit)
            try:
                names += hostlist.expand(host) * min(int(times or 1), 65536)
            except LanguageError:
                raise item.error(f"Invalid hostfile {name} contents on line {number}",
                                 exit_code=item.context.error_exit) from None
    if not names:
        raise item.error("Hostlist is empty!", exit_code=item.context.error_exit)
    return str(hostlist.compress(names))


@_reader
def hosts(item: Item) -> Any:
    """Node names, or with a ``/`` a file of them. Unknown names are the controller's to refuse."""
    if "/" in item.value:
        return node_names(item, item.value)
    return item.value


@_reader
def nodefile(item: Item) -> dict[str, Any]:
    try:
        return {"nodefile": item.value, "nodelist": node_names(item, item.value)}
    except CommandError as fault:
        last = f"{item.command}: error: Invalid --nodefile node file"
        raise CommandError((*fault.lines, last), USAGE) from None


@_reader
def bbf(item: Item) -> dict[str, Any]:
    try:
        item.context.read_file(os.path.join(item.context.cwd, item.value))
    except OSError:
        raise item.error("Invalid --bbf specification", exit_code=item.context.error_exit) from None
    return {"recorded": (("bbf", item.value),)}


@_reader
def user(item: Item) -> str:
    if not item.context.is_root:
        raise item.error("--uid only permitted by root user")
    found = item.context.find_user(item.value)
    if found is None:
        raise item.error()
    return str(found)


@_reader
def group(item: Item) -> str:
    if not item.context.is_root:
        raise item.error("--gid only permitted by root user")
    found = item.context.find_group(item.value)
    if found is None:
        raise item.error()
    return str(found)


@_reader
def get_user_env(item: Item) -> str:
    """[TIMEOUT][L|S], which releases up to 24.05 took; later ones take no argument."""
    if item.text is not None and not re.fullmatch(r"[0-9]*[LlSs]?", item.text):
        raise item.error()
    return item.value


# ---------------------------------------------------------------- srun and salloc

@_reader
def pty(item: Item) -> str:
    return item.value


@_reader
def overlap(item: Item) -> bool:
    return True


@_reader
def bcast(item: Item) -> str:
    return item.value


@_reader
def external_launcher(item: Item) -> bool:
    return True


@_reader
def kill_command(item: Item) -> int:
    """Number of a signal; bare: SIGTERM."""
    from ..language import signalspec

    if item.text is None:
        return 15
    try:
        return signalspec.parse_signal(item.text)
    except LanguageError:
        raise item.error() from None


# Options that print and leave are answered by submit and query before values are read.
for _early in ("help", "usage", "version", "autocomplete"):
    READERS[_early] = switch


@_reader
def gres(item: Item) -> str:
    if item.value.lower() in ("help", "list"):
        raise Printed("Valid gres options are:\ngpu[[:type]:count]\n")
    return item.value
