"""Finds the folder in which a script expects its files.

``cd /home/me/model`` before ``python train.py`` names the project's folder by its path on the cluster for which the
script was written. A script that changes into several folders, or reads nothing there, names none.
"""

from __future__ import annotations

import re

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command
from .mount_points import is_scratch, on_every_node
from .program_paths import known_program
from .script_files import files_beside, names_files_beside, reads_files_beside
from .start_files import start_role

_MAKERS = frozenset(("mkdir", "git", "tar", "unzip", "cp", "rsync", "mktemp"))


_CODE = re.compile(r"\.(py|sh|bash|R|r|jl|m|pl|c|cc|cpp|cu|f90|smk|nf)$")
_BUILDERS = frozenset(("make", "cmake", "snakemake", "nextflow", "cargo", "ninja", "git"))


def work_folder(script: Script, scope: Scope) -> tuple[str, tuple[str, ...]]:
    """Only outside folder that the script enters, and its files.

    The files are those that the script reads there. Without such a folder: "" and the files of the start folder.
    Folders that the script creates, folders of every node, and paths that are unknown before the job runs do not count.
    """
    found, start = entered(script, scope)
    files = tuple(files_beside(script.commands[start:]))
    return (found if files else "", files)


def code_folder(script: Script, scope: Scope) -> str:
    """Folder of the script's own programs on the old cluster, or "".

    It is the only folder into which the script changes, unless it reads only data there. A script that changes into no
    folder has its programs in the folder of their paths.
    """
    found, start = entered(script, scope)
    if found:
        if re.search(r"(?<![\w./])\.\./", script.source):
            return ""  # the script names files above that folder, too
        after = script.commands[start:]
        return found if not reads_files_beside(after) or any(map(_is_code, after)) else ""
    if names_files_beside(script):
        return ""
    named = {plain(scope.expand(word)) for command in script.commands for word in command.words}
    own = (path for path in named if _CODE.search(path) and "/" in path and not known_program(path))
    own = (path for path in own if start_role(path, arguments=False) == "read")
    folders = {path.rpartition("/")[0] for path in own}
    return next(iter(folders)) if len(folders) == 1 and _is_folder(min(folders)) else ""


def _is_code(command: Command) -> bool:
    """Return whether a command runs or builds a program of its folder."""
    texts = [word.text or "" for word in command.words]
    return command.name in _BUILDERS or any(
        not text.startswith(("/", "~")) and (_CODE.search(text) or (index == 0 and text.startswith("./")))
        for index, text in enumerate(texts)
    )


def entered(script: Script, scope: Scope) -> tuple[str, int]:
    """The only outside folder that the script enters, and the index of the next command."""
    found, start = "", 0
    made: list[str] = []
    commands = script.commands
    inside = [command for command in commands if launched(command, scope.containers).inside]
    for index, command in enumerate(commands):
        if any(one.start < command.start < one.end for one in inside):
            continue
        arguments = [plain(scope.expand(word)) for word in command.arguments if not word.raw.startswith("-")]
        if command.name in _MAKERS:
            made += arguments
        if command.name not in ("cd", "pushd") or len(arguments) != 1:
            continue
        path = arguments[0]
        if not _is_folder(path) or any(_below(path, one) for one in made) or (found and _below(path, found)):
            continue
        if found:
            return "", len(commands)
        found, start = path, index + 1
    return found, start


def plain(path: str) -> str:
    """Path without quotes and closing slash; ``$HOME`` is ``~``."""
    path = re.sub(r"/{2,}", "/", path.strip("\"'"))
    return re.sub(r"^\$HOME(?=/|$)", "~", path).rstrip("/")


def _is_folder(path: str) -> bool:
    """Return whether a path may be a project's folder. It is known, in a home folder or at least two folders deep."""
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
