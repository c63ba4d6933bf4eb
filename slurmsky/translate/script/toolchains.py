"""Finds modules of compilers and MPIs that a script loads but does not use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...site.modules import Module
from ..shell.launched_program import launched
from ..shell.path_texts import home
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .conversion_tables import LAUNCHERS, Dropped
from .program_paths import known_program
from .programs import find

#: programs that only a toolchain's module provides
_COMPILERS = words("gcc icc icx mpicc mpiicc ifort nvc")
#: programs that call compilers
_BUILDERS = words("make gmake cmake ninja meson scons configure makenemo cargo spack bazel nvcc")
_BUILT = re.compile(r"\binstall\.packages|setup\.py|R CMD INSTALL|\bPkg\.(add|build)|horovod|mpi4py")
_ENTERS = re.compile(r"(?m)^[^#\n]*(\b(conda|mamba|source) activate|bin/activate)")


def unused(script: Script, modules: list[Module], ranks: bool) -> Iterator[tuple[int, Dropped]]:
    """Unneeded toolchains: place in the list, and entry for a comment.

    A program of the script's own may need a toolchain's libraries. ``ranks``: mpirun replaces srun.
    """
    named, own = _started(script)
    if named & _BUILDERS or _BUILT.search(script.source):
        return
    intel = any("hpckit" in module.image for module in modules)
    other_mpi = any("openmpi" in module.setup for module in modules)
    for at, module in enumerate(modules):
        given = set(module.gives)
        if module.source != "shipped" or not given & (_COMPILERS | LAUNCHERS):
            continue
        launches = bool(given & LAUNCHERS) and (ranks or bool(named & LAUNCHERS))
        rebuild = "hpckit" in module.image and other_mpi and own
        if rebuild:
            why = "its libraries are in docker:intel/hpckit, whose mpirun is another one: build the program with gcc"
        elif own or named & given - LAUNCHERS or (launches and not (intel and "hpckit" in module.image)):
            continue
        else:
            why = "nothing in the script compiles with it or runs a program of its own"
        yield at, Dropped(0, f"module load {module.name}", why, to_do=rebuild)


def runs_own_program(script: Script) -> bool:
    """Return whether the script runs a program that the user built."""
    return _started(script)[1]


def _started(script: Script) -> tuple[set[str], bool]:
    """Programs on the node, and whether one is the user's."""
    scope = Scope.of(script)
    names: set[str] = set()
    own = False
    for command in script.commands:
        names.update({command.name} & LAUNCHERS)
        found = launched(command, scope.containers)
        if not found.words or found.inside:
            continue
        program = home(scope.expand(found.words[0]))
        name = program.rpartition("/")[2]
        names.add(name)
        if name in scope.functions or re.search(r"\.(sh|py|R|pl)$|^(conda|mamba|python[\d.]*|activate)$", name):
            continue
        if "/" in program:
            own = own or not (known_program(program) or program.startswith(("/usr/", "/bin/")))
        elif "$" in program or (find(name) is None and not _ENTERS.search(script.source)):
            own = True  # other programs come with the environment
    return names, own
