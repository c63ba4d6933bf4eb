"""Finds the folder in which a script's authors call sbatch.

This is often the project's folder, and not the script's own.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..shell.launched_program import Launched, launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .conversion_tables import COMPILERS
from .folders_above import levels_above
from .project_folder import Project
from .script_files import PACKAGED, files_beside, made_by
from .work_folder import code_folder, plain

#: most folders above the script's own one that are searched
LEVELS = 5
#: programs that read a file of this name in their working directory
_READ = {"make": "Makefile", "snakemake": "Snakefile", "cargo": "Cargo.toml"}
_CODE = re.compile(r"\.(py|sh|bash|R|r|jl|m|pl|smk|nf)$")
_IMAGE = re.compile(r"\.(sif|simg)$")
_BUILDERS = COMPILERS | words("make cmake go cargo ninja git wget tar unzip cp")
_STARTERS = words("python python3 bash sh source . Rscript R julia torchrun accelerate deepspeed")


class Origin(NamedTuple):
    """A submit folder.

    ``levels``: number of folders above the given one; ``missing``: programs of the script that it lacks; ``former``:
    its path on the old cluster, where the script names it; ``unbuilt``: its programs, started as
    ./NAME, that do not exist there; ``below``: path of the script's folder below the given one, if the script's folder
    is the submit folder.
    """

    levels: int
    missing: tuple[str, ...] = ()
    former: str = ""
    unbuilt: tuple[str, ...] = ()
    below: str = ""


def origin(script: Script, scope: Scope, folder: str, paths: Sequence[str] = (), path: str = "") -> Origin:
    """Submit folder of a script.

    It is the nearest folder, from ``folder`` upwards, with most of the files that the script names. ``paths``: files
    that the script names outside of ``folder``. ``path``: the script's path in ``folder``. Reads only names of files.
    """
    if not (folder and os.path.isdir(folder)):
        return Origin(0)
    bases = list(candidates(folder))
    for level, base in reversed(list(enumerate(bases))):  # the folder of the whole project, not of a part
        found = [(path, former) for path in paths if (former := Project(base).former(path))]
        former = next((former for path, former in found if path != former), found[0][1] if found else "")
        if former:
            return Origin(level, (), former)
    named = list(dict.fromkeys(_named(script, scope, code_folder(script, scope))))
    below = _own_folder(script, scope, named, bases, posixpath.dirname(path))
    if below or not named:
        return Origin(0, below=below)
    built = any(launched(command).name in _BUILDERS for command in script.commands)
    started = {posixpath.normpath(path) for path in _by_path(script, scope)} if not built else set()
    counts = [sum(_is_file(base, path) for path in named) for base in bases]
    best = counts.index(max(counts))
    missing = [path.partition("|")[0] for path in named if not (_is_file(bases[best], path) or path[:2] == "..")]
    programs = [path for path in missing if _CODE.search(path)]
    unbuilt = [
        path
        for path in sorted(started)
        if not (_CODE.search(path) or _IMAGE.search(path) or _is_file(bases[best], path))
    ]
    return Origin(best, () if counts[best] else tuple(programs[:3]), "", tuple(unbuilt[:3]))


def _own_folder(script: Script, scope: Scope, named: Sequence[str], bases: Sequence[str], own: str) -> str:
    """The folder ``own`` if no base has as many files, or "".

    A script that names only files above its start folder, as ``../data``, starts in its own folder, too.
    """
    if not own or own.startswith("..") or not os.path.isdir(os.path.join(bases[0], own)):
        return ""
    there, *others = (sum(_is_file(base, one) for one in named) for base in (os.path.join(bases[0], own), *bases))
    only_above = not any(others) and 0 < levels_above(script, scope)[0] <= own.count("/") + 1
    return own if there > max(others) or only_above else ""


def candidates(folder: str) -> Iterator[str]:
    """A folder and its parents, up to the repository. A home folder and its parents are excluded."""
    home = f"{os.path.realpath(os.path.expanduser('~'))}/"
    base = os.path.realpath(folder)
    for _ in range(LEVELS + 1):
        yield base
        above = os.path.dirname(base)
        if os.path.lexists(os.path.join(base, ".git")) or above.count("/") < 2 or home.startswith(f"{above}/"):
            return
        base = above


def _by_path(script: Script, scope: Scope) -> Iterator[str]:
    """Programs that a script starts by relative paths.

    Paths other than ./NAME count only if the script changes into no folder.
    """
    made = {name for one in script.commands for name in made_by(one.name, [word.text or "" for word in one.arguments])}
    stays = not any(command.name in ("cd", "pushd") for command in script.commands)
    for command in script.commands:
        found = launched(command, scope.containers)
        yield from _by_path_of(found, scope)
        program = scope.expand(found.words[0]) if found.words and not found.inside else ""
        if stays and re.fullmatch(r"(\.{1,2}/)*[\w.-]+(/[\w.-]+)+", program) and program.split("/")[0] not in made:
            yield program


def _by_path_of(found: Launched, scope: Scope) -> Iterator[str]:
    """Programs of a command line that ./ names.

    These are the first word, or the one after --, where a profiler's own command line begins.
    """
    texts = [scope.expand(word) for word in found.words] if not found.inside else []
    for program in (*texts[:1], *(after for before, after in pairwise(texts) if before == "--")):
        if program.startswith("./") and "$" not in program:
            yield program


def _is_file(base: str, path: str) -> bool:
    return any(os.path.isfile(os.path.join(base, name)) for name in path.split("|"))


def _named(script: Script, scope: Scope, code: str) -> Iterator[str]:
    """Files that a script names, relative to its start folder. ``A|B`` means that either file suffices."""
    here = ""
    made: set[str] = set()
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.inside or found.name in scope.functions or found.name == "conda":
            continue
        texts = [scope.expand(word) for word in found.arguments]
        made.update(posixpath.normpath(posixpath.join(here, text)) for text in made_by(found.name, texts))
        made.update(word.text or "" for operator, word in command.redirects if ">" in operator)
        paths = [*(path for path in files_beside([command]) if path), *_by_path_of(found, scope)]
        paths += [text for text in texts[:4] if _CODE.search(text) and found.name in _STARTERS]
        if found.name in _READ and not any(text.startswith(("-C", "-f", "-s", "--snakefile")) for text in texts):
            name = _READ[found.name]
            paths.append(f"{name}|workflow/{name}" if name == "Snakefile" else name)
        if found.name == "cmake" and texts[-1:] in (["."], [".."]):
            paths.append(f"{texts[-1]}/CMakeLists.txt")
        first = next((text for text in texts if not text.startswith("-")), "")
        if "-m" in texts[: texts.index(first) if first else 0] and re.match(r"python|torchrun", found.name):
            module = texts[texts.index("-m") + 1].replace(".", "/")
            own = "/" in module and module.partition("/")[0] not in PACKAGED
            paths += [f"{module}.py|{module}/__init__.py|{module}/__main__.py"] if own else []
        for path in paths:
            if "$" in path or path.startswith(("/", "~", "-")):
                continue
            where = "|".join(posixpath.normpath(posixpath.join(here, one)) for one in path.split("|"))
            if not where.startswith("../../..") and not any(f"{where}/".startswith(f"{folder}/") for folder in made):
                yield where
        if found.name in ("cd", "pushd"):
            target = plain(texts[0]) if texts else "~"
            if code and target == code:
                here = ""
            elif target.startswith(("/", "~", "$", "-")):
                return
            else:
                here = posixpath.join(here, target)
