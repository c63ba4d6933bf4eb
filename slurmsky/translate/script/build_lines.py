"""Determines how setup builds a script's own programs.

A makefile that names the program builds it, or the compiler of its only source file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from .conversion_tables import quoted
from .programs import setup_lines
from .project_folder import MAKEFILES
from .small_files import read_small

#: endings of a source file -> compiler, compiler for MPI
_COMPILERS = {
    ".c": ("gcc", "mpicc"), ".cc": ("g++", "mpicxx"), ".cpp": ("g++", "mpicxx"), ".cxx": ("g++", "mpicxx"),
    ".f": ("gfortran", "mpif90"), ".f90": ("gfortran", "mpif90"), ".F90": ("gfortran", "mpif90"),
    ".cu": ("nvcc", "nvcc"),
}  # fmt: skip
#: endings that people give to programs
_PROGRAM = re.compile(r"\.(exe|out|x|o|bin)$")
_MPI = re.compile(r"(?im)^\s*(#\s*include\s*[<\"]mpi\.h|use\s+mpi|include\s+['\"]mpif)")
#: options for what a source file uses
_OPTIONS = ((re.compile(r"(?im)^\s*(#\s*pragma\s+omp|!\$omp|#\s*include\s*[<\"]omp\.h)"), "-fopenmp"),)
_LIBRARIES = (
    (re.compile(r"(?m)^\s*#\s*include\s*[<\"]math\.h"), "-lm"),
    (re.compile(r"(?m)^\s*#\s*include\s*[<\"]pthread\.h"), "-pthread"),
)


class Build(NamedTuple):
    """Setup lines of a build, and programs they call."""

    lines: tuple[str, ...]
    tools: tuple[str, ...]


def build_of(folder: str, program: str) -> Build | None:
    """Build of a program, or None without a rule.

    ``program``: its path relative to ``folder``.
    """
    place, _, name = program.removeprefix("./").rpartition("/")
    where = os.path.join(folder, place)
    for makefile in MAKEFILES:
        text = read_small(Path(where) / makefile) or ""
        target = re.search(rf"(?m)^{re.escape(name)}\s*:", text)
        if target or re.search(rf"(?m)^[^#\n]*(?<![\w./-]){re.escape(name)}(?![\w./-])", text):
            line = "make" + (f" -C {quoted(place)}" if place else "") + (f" {quoted(name)}" if target else "")
            return Build((line,), ("make", *_compilers_in(text)))
    stems = dict.fromkeys((name, _PROGRAM.sub("", name)))
    files = [(Path(where) / (stem + ending), ending) for stem in stems for ending in _COMPILERS]
    found = [(path, ending) for path, ending in files if path.is_file()]
    if len(found) != 1:
        return None
    path, ending = found[0]
    text = read_small(path) or ""
    compiler = _COMPILERS[ending][bool(_MPI.search(text))]
    options = [option for pattern, option in _OPTIONS if pattern.search(text)]
    if compiler == "nvcc":
        options = [f"-Xcompiler {option}" for option in options]
    libraries = [option for pattern, option in _LIBRARIES if pattern.search(text)]
    source = os.path.join(place, path.name)
    output = quoted(program.removeprefix("./"))
    return Build((" ".join([compiler, "-O2", *options, "-o", output, quoted(source), *libraries]),), (compiler,))


def _compilers_in(text: str) -> list[str]:
    """Compilers that a makefile names; C and C++ have the same package."""
    named = [name for names in _COMPILERS.values() for name in names]
    return [name for name in dict.fromkeys(named) if re.search(rf"(?<![\w+-]){re.escape(name)}(?![\w+])", text)]


def build_setup(folder: str, programs: tuple[str, ...], given: Container[str]) -> tuple[list[str], list[str]]:
    """Setup lines that build programs, and programs without a rule.

    ``given``: programs of the task's modules; an MPI among them brings its compilers.
    """
    found = {program: build_of(folder, program) for program in programs} if folder else {}
    builds = [build for build in found.values() if build]
    tools = tuple(dict.fromkeys(tool for build in builds for tool in build.tools))
    tools = tuple(tool for tool in tools if tool not in given and not (tool.startswith("mpi") and "mpirun" in given))
    lines = [line for build in builds for line in build.lines]
    return [*setup_lines(tools), *dict.fromkeys(lines)], [one for one in programs if not found.get(one)]
