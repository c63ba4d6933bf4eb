"""Finds the folder in which a script expects its own files, where it changes into one. Pure.

``cd /home/me/model`` before ``python train.py`` names the project's folder by its path on the cluster for which the
script was written. A script that changes into several folders, or reads nothing there, names none.
"""

from __future__ import annotations

import re

from .launched import launched
from .mountpoints import is_scratch, on_every_node
from .scope import Scope
from .scriptfiles import files_beside
from .shell import Script

_MAKERS = frozenset(("mkdir", "git", "tar", "unzip", "cp", "rsync", "mktemp"))


def work_folder(script: Script, scope: Scope) -> tuple[str, tuple[str, ...]]:
    """The only folder outside the submit folder into which the script changes, and the files that it reads there.

    Without such a folder: "" and the files that it reads where it starts.

    Folders that the script creates, folders of every node, and paths that are unknown before the job runs do not count.
    """
    found, start = "", 0
    made: list[str] = []
    commands = script.commands
    inside = [command for command in commands if launched(command, scope.containers).inside]
    for index, command in enumerate(commands):
        if any(one.start < command.start < one.end for one in inside):
            continue
        arguments = [_plain(scope.expand(word)) for word in command.arguments if not word.raw.startswith("-")]
        if command.name in _MAKERS:
            made += arguments
        if command.name not in ("cd", "pushd") or len(arguments) != 1:
            continue
        path = arguments[0]
        if not _is_folder(path) or any(_below(path, one) for one in made) or (found and _below(path, found)):
            continue
        if found:
            return "", ()
        found, start = path, index + 1
    files = tuple(files_beside(commands[start:]))
    return (found if files else "", files)


def _plain(path: str) -> str:
    path = re.sub(r"/{2,}", "/", path.strip("\"'"))
    return re.sub(r"^\$HOME(?=/|$)", "~", path).rstrip("/")


def _is_folder(path: str) -> bool:
    """Whether a path may be a project's folder: known, in a home folder or at least two folders deep."""
    shape = re.fullmatch(r"~(/[\w.+@-]+)+|(/(?:[\w.+@-]+|\$USER)){2,}", path)
    return (
        bool(shape)
        and not path.endswith("/$USER")
        and not on_every_node(path)
        and not is_scratch(path)
        and not path.startswith("/path/")
    )


def _below(path: str, folder: str) -> bool:
    return path == folder or (bool(folder) and path.startswith(folder + "/"))
