"""Readers for options that name files, folders, nodes, users."""

from __future__ import annotations

import os.path
import re
from typing import Any

from ..language.syntax_errors import LanguageError
from .usage_errors import USAGE, CommandError
from .values import Item, reader


@reader
def chdir(item: Item) -> str:
    """Absolute path, resolved in the caller's working directory."""
    return os.path.join(item.context.cwd, item.value) if item.value else item.context.cwd


@reader
def path(item: Item) -> str:
    """File name pattern. "none" means no file for sbatch, and a mode of srun for srun."""
    if item.command != "srun" and item.value.lower() == "none":
        return "/dev/null"
    return item.value


@reader
def error_path(item: Item) -> str:
    return path(item)  # type: ignore[no-any-return]


def node_names(item: Item, name: str) -> str:
    """Host list of the nodes that a file lists.

    Comments and blank lines are ignored. A name may have ``*N`` for N repetitions.

    Source: read_config.c slurm_read_hostfile.
    """
    from ..language import hostlist

    try:
        data = item.context.read_file(os.path.join(item.context.cwd, name))
    except IsADirectoryError:
        data = b""
    except OSError as fault:
        raise item.error(
            f"slurm_allocate_resources error opening file {name}, {fault.strerror}",
            exit_code=item.context.error_exit,
        ) from None
    names: list[str] = []
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").splitlines(), start=1):
        words = line.partition("#")[0].strip()
        for word in filter(None, re.split(r",(?![^\[]*\])", words)):
            host, star, times = word.strip().partition("*")
            if not re.match(r"[A-Za-z0-9_\[]", host) or (star and not times.isdecimal()):
                raise item.error(
                    f"Invalid hostfile {name} contents on line {number}", exit_code=item.context.error_exit
                )
            try:
                names += hostlist.expand(host) * min(int(times or 1), 65536)
            except LanguageError:
                raise item.error(
                    f"Invalid hostfile {name} contents on line {number}", exit_code=item.context.error_exit
                ) from None
    if not names:
        raise item.error("Hostlist is empty!", exit_code=item.context.error_exit)
    return str(hostlist.compress(names))


@reader
def hosts(item: Item) -> Any:
    """Node names, or with a ``/`` a file of node names. The controller refuses unknown names."""
    if "/" in item.value:
        return node_names(item, item.value)
    return item.value


@reader
def nodefile(item: Item) -> dict[str, Any]:
    try:
        return {"nodefile": item.value, "nodelist": node_names(item, item.value)}
    except CommandError as fault:
        last = f"{item.command}: error: Invalid --nodefile node file"
        raise CommandError((*fault.lines, last), USAGE) from None


@reader
def bbf(item: Item) -> dict[str, Any]:
    try:
        item.context.read_file(os.path.join(item.context.cwd, item.value))
    except OSError:
        raise item.error("Invalid --bbf specification", exit_code=item.context.error_exit) from None
    return {"recorded": (("bbf", item.value),)}


@reader
def user(item: Item) -> str:
    if not item.context.is_root:
        raise item.error("--uid only permitted by root user")
    found = item.context.find_user(item.value)
    if found is None:
        raise item.error()
    return str(found)


@reader
def group(item: Item) -> str:
    if not item.context.is_root:
        raise item.error("--gid only permitted by root user")
    found = item.context.find_group(item.value)
    if found is None:
        raise item.error()
    return str(found)
