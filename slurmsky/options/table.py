"""The option table: a row per option of every command.

A row of options.csv defines an option's spelling, its environment variable, the field of the request that it sets
(``field``), the function of ``values`` that reads its text (``reader``), and its support here (``policy``).
"""

from __future__ import annotations

import csv
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Iterable, Optional

from ..model.release import MAJOR, MINOR

if TYPE_CHECKING:
    from slurmsky.model.spec import DeclaredOption

COMMANDS = (
    "sbatch",
    "srun",
    "salloc",
    "squeue",
    "scancel",
    "sinfo",
    "sacct",
    "scontrol",
    "sattach",
    "sbcast",
    "sstat",
)
#: Commands whose options describe a job or step.
SUBMIT = ("sbatch", "srun", "salloc")
POLICIES = ("mapped", "agent", "recorded", "none", "refused")


@dataclass(frozen=True)
class Option:
    """One option of one command.

    ``long`` is "" for an option that only the environment can set; ``short`` "" for an option without letter.
    """

    command: str
    long: str
    short: str
    argument: str  # "none" | "required" | "optional"
    kind: str  # type of the value in the table: "time", "memory", "enum:a;b" ...
    env: tuple[str, ...]  # input variables, a later one overrides
    default: str
    hidden: bool  # --help omits the option
    resets: bool  # each het component starts from the option's default; others are inherited (slurm_opt.h)
    early: bool  # read from the command line only, never from the script
    meaning: str
    added: str  # release, "" = before 22.05 ended
    same_as: str  # long name of the option that this is an alias of
    field: str  # field of JobSpec, StepSpec, SubmitFlags or a query; comma list; "" = none
    reader: str  # function in values/query
    policy: str
    why: str = ""
    help: str = ""  # text of a site's own option

    @property
    def name(self) -> str:
        """Long name that errors show; an alias has its option's."""
        return self.same_as or self.long

    @property
    def later(self) -> bool:
        """Return whether the option was added after the emulated release."""
        return bool(self.added) and tuple(int(part) for part in self.added.split(".")) > (int(MAJOR), int(MINOR))


class OptionTable:
    """The options of one command, in table order."""

    def __init__(self, command: str, options: Iterable[Option]) -> None:
        self.command = command
        self.options = tuple(options)
        self.longs: dict[str, Option] = {}
        self.shorts: dict[str, Option] = {}
        for option in self.options:
            if option.long:
                self.longs.setdefault(option.long, option)
            # An alias shares its option's letter; the letter belongs to the option.
            if option.short and (option.short not in self.shorts or not option.same_as):
                self.shorts[option.short] = option

    def find(self, word: str) -> Optional[Option]:
        """Find an option written ``--long``, ``-s``, ``long`` or ``s``."""
        bare = word.lstrip("-")
        return self.longs.get(bare) or self.shorts.get(bare)

    def with_site_options(self, declared: Iterable[DeclaredOption]) -> OptionTable:
        """Return the table with the site's options added. A name that Slurm uses keeps Slurm's meaning."""
        extra = [
            Option(
                command=self.command,
                long=site.name,
                short="",
                argument=site.argument,
                kind="string",
                env=(),
                default="",
                hidden=False,
                resets=False,
                early=False,
                meaning=site.help,
                added="",
                same_as="",
                field="site_options",
                reader="text",
                policy=site.policy,
                why="option of this site",
                help=site.help,
            )
            for site in declared
            if self.command in SUBMIT and site.name not in self.longs
        ]
        return OptionTable(self.command, self.options + tuple(extra)) if extra else self


def _rows() -> list[str]:
    data = pkgutil.get_data("slurmsky.options", "options.csv")
    assert data is not None, "options.csv is missing from the package"
    return data.decode("utf-8").splitlines()


@cache
def every(command: str) -> tuple[Option, ...]:
    """All rows of ``command``, with those newer than the emulated release."""
    lines = _rows()
    names = lines[0].split(",")
    found = csv.reader(line for line in lines if line.startswith(command + ","))
    return tuple(_option(dict(zip(names, row))) for row in found)


@cache
def load(command: str) -> OptionTable:
    """Options that ``command`` accepts. Raises KeyError for a command that is not in the table."""
    options = every(command)
    if not options:
        raise KeyError(command)
    return OptionTable(command, [option for option in options if not option.later])


def _option(row: dict[str, str]) -> Option:
    return Option(
        command=row["command"],
        long=row["long"],
        short=row["short"],
        argument=row["arg"],
        kind=row["type"],
        env=tuple(name for name in row["input_env"].split(";") if name),
        default=row["default"],
        hidden=bool(row["hidden"]) or not row["long"],
        resets=bool(row["per_component"]),
        early=bool(row["line_only"]),
        meaning=row["meaning"],
        added=row["added"],
        same_as=row["same_as"],
        field=row["field"],
        reader=row["reader"],
        policy=row["policy"],
        why=row["why"],
    )
