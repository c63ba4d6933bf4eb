"""Converts an option's text to field values.

This module has the reader interface, and readers for flags and numbers. A reader is a small function per type of
value, named in the table's ``reader`` column (others are in ``readers`` and ``filters``). It receives an Item and
returns the value of the option's only field, or a dict for several fields.

Source: slurm src/common/slurm_opt.c (arg_set_*), src/common/proc_args.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Callable, Mapping, Optional

from .table import Option
from .usage_errors import USAGE, CommandError, failure


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


@dataclass(frozen=True)
class ReadContext:
    """The caller's environment for readers. ``read_file`` returns a file's bytes or raises OSError."""

    now: float = 0.0
    timezone: Optional[tzinfo] = None
    cwd: str = "/"
    env: Mapping[str, str] = field(default_factory=dict)
    read_file: Callable[[str], bytes] = _no_file
    is_root: bool = False
    find_user: Callable[[str], Optional[int]] = lambda name: int(name) if name.isdecimal() else None
    find_group: Callable[[str], Optional[int]] = lambda name: int(name) if name.isdecimal() else None
    max_array_size: int = 1001

    @property
    def error_exit(self) -> int:
        """Exit code of errors found after parsing. SLURM_EXIT_ERROR replaces the usual 1."""
        text = self.env.get("SLURM_EXIT_ERROR", "").strip()
        code = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else 0
        return code % 256 or 1


@dataclass(frozen=True)
class Item:
    """One occurrence of an option; ``text`` is None without argument."""

    option: Option
    text: Optional[str]
    context: ReadContext
    command: str

    @property
    def value(self) -> str:
        """Text of the argument, or ""."""
        return self.text or ""

    def error(self, *messages: str, exit_code: int = USAGE) -> CommandError:
        """Error with ``command: error:`` lines, by default the option's usual."""
        return failure(
            self.command, *(messages or (f"Invalid --{self.option.name} specification",)), exit_code=exit_code
        )


Reader = Callable[[Item], Any]
READERS: dict[str, Reader] = {}


def reader(function: Reader) -> Reader:
    READERS[function.__name__] = function
    return function


def read(option: Option, text: Optional[str], context: ReadContext, command: str = "") -> dict[str, Any]:
    """Convert ``text`` to the values of ``option``'s fields. Raises CommandError."""
    item = Item(option, text, context, command or option.command)
    value = READERS[option.reader](item)
    return value if isinstance(value, dict) else {option.field: value}


# ---------------------------------------------------------------- plain values


@reader
def flag(item: Item) -> bool:
    return True


@reader
def count(item: Item) -> Any:
    """Count of a repeatable flag; from the environment a number. The caller adds up repetitions on the command line."""
    return 1 if item.text is None else max(0, leading_int(item.text))


@reader
def switch(item: Item) -> dict[str, Any]:
    """Store a flag without effect: {recorded: ((name, ""),)}."""
    return {"recorded": ((item.option.name, ""),)}


@reader
def account(item: Item) -> str:
    """Account in lower case, as Slurm stores it.

    Source: job_mgr.c validate_job_create_req.
    """
    return item.value.lower()


@reader
def text(item: Item) -> Any:
    if item.option.field in ("recorded", "site_options"):
        return {item.option.field: ((item.option.name or item.option.env[0], item.value),)}
    return item.value


def leading_int(text: str) -> int:
    """Number at the start of ``text``, or 0. This is C's strtol in 64 bits."""
    match = re.match(r"\s*([+-]?)0*([0-9]*)", text)
    assert match is not None
    digits = match.group(2)
    value = 2**63 - 1 if len(digits) > 19 else min(int(digits or "0"), 2**63 - 1)
    return -value if match.group(1) == "-" else value


def whole(item: Item, name: str, positive: bool, text: Optional[str] = None) -> int:
    """Decimal number, > 0 or >= 0, of 32 bits.

    Source: proc_args.c parse_int.
    """
    text = item.value if text is None else text
    bad = item.error(f'Invalid numeric value "{text}" for {name}.', exit_code=1)
    # strtol of a lone sign or blanks consumes nothing, and the remaining text is the error; for the empty string it
    # returns 0.
    if text and not re.fullmatch(r"[ \t\n\v\f\r]*[+-]?[0-9]+", text):
        raise bad
    value = leading_int(text)
    if value < 0 or (positive and value == 0):
        raise bad
    if value == 2**63 - 1:
        raise item.error(f"Numeric argument ({value}) to big for {name}.", exit_code=1)
    return (value + 2**31) % 2**32 - 2**31


@reader
def positive(item: Item) -> int:
    return whole(item, f"--{item.option.name}", positive=True)


@reader
def positive_text(item: Item) -> str:
    return str(positive(item))


@reader
def nonnegative(item: Item) -> int:
    return whole(item, f"--{item.option.name}", positive=False)


@reader
def positive_or_star(item: Item) -> Optional[int]:
    return None if item.value == "*" else whole(item, f"--{item.option.name}", positive=True)


@reader
def bare_one(item: Item) -> int:
    """Number of an optional argument, by default 1."""
    return 1 if item.text is None else whole(item, f"--{item.option.name}", positive=False)


@reader
def immediate(item: Item) -> int:
    return 1 if item.text is None else whole(item, "immediate", positive=False)


@reader
def resv_ports(item: Item) -> int:
    return 0 if item.text is None else whole(item, "--resv-port", positive=False)


@reader
def wait_all_nodes(item: Item) -> int:
    value = whole(item, "--wait-all-nodes", positive=False)
    if value > 1:
        raise item.error()
    return value


@reader
def nice(item: Item) -> int:
    """Nice value, by default 100.

    Source: arg_set_nice.
    """
    if item.text is None:
        return 100
    value = leading_int(item.text)
    if abs(value) > 2147483645:
        raise item.error("Invalid --nice value, out of range (+/- 2147483645)")
    return value


@reader
def priority(item: Item) -> int:
    """Priority; TOP is the highest possible number.

    Source: arg_set_priority.
    """
    if item.value.upper() == "TOP":
        return 0xFFFFFFFE - 1
    value = leading_int(item.value)
    if value < 0:
        raise item.error("Priority must be >= 0")
    if value >= 0xFFFFFFFE:
        raise item.error("Priority must be < 4294967294")
    return value


@reader
def yes_no(item: Item) -> bool:
    word = item.value.lower()
    if word not in ("yes", "no"):
        raise item.error()
    return word == "yes"


# Options that only print are processed before values are read; the rest is only stored.
for _early in ("help", "usage", "version", "autocomplete"):
    READERS[_early] = switch
