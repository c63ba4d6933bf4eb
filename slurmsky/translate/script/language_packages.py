"""Determines packages of Julia and R files, as setup lines. Reads files of one folder, and runs none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .conversion_tables import one_line, quoted
from .python_packages import read_small

#: packages that come with Julia, and with R
_JULIA = words(
    """
    Base Core Main Pkg Dates DelimitedFiles Distributed LinearAlgebra Logging Printf Profile Random Serialization
    SharedArrays Sockets SparseArrays Statistics Test UUIDs InteractiveUtils REPL Libdl Mmap Markdown Base64 Unicode
    SuiteSparse Future FileWatching Artifacts TOML LibGit2 Threads
    """
)
_R = words("base stats graphics grDevices utils datasets methods parallel grid splines stats4 tcltk tools compiler")
_USING = re.compile(r"(?m)^\s*(?:@everywhere\s+)?(?:using|import)\s+([A-Z][\w., :]*)")
_LIBRARY = re.compile(r"(?m)^[^#\n]*?\b(?:library|require|requireNamespace|loadNamespace)\(\s*[\"']?([A-Za-z][\w.]*)")
_CRAN = 'repos = "https://cloud.r-project.org"'


def language_setup(script: Script, folder: str) -> list[str]:
    """Setup lines for the packages of Julia and R. ``folder``: the submit folder, if known."""
    return [*dict.fromkeys((*_of_julia(script, folder), *_of_r(script, folder)))]


def _of_julia(script: Script, folder: str) -> Iterator[str]:
    scope = Scope.of(script)
    if re.search(r"\bPkg\.(add|instantiate|develop)", script.source):
        return
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.name != "julia" or found.inside:
            continue
        texts = [scope.expand(word) for word in found.arguments]
        project = next((text for text in texts if re.match(r"--proj(ect)?(=|$)", text)), "")
        files = [text for text in texts if text.endswith(".jl")][:1]
        run = f"julia {quoted(project)}" if project else "julia"
        if "$" in project:
            yield f"# TODO: julia --project=FOLDER -e 'using Pkg; Pkg.instantiate()' with the folder of {project}"
            continue
        if project or "JULIA_PROJECT" in script.source:
            yield f"{run} -e 'using Pkg; Pkg.instantiate()'"
        elif files:
            used = _using(folder, files[0])
            if used is None:
                file = one_line(os.path.basename(files[0]))
                yield f"# TODO: julia -e 'using Pkg; Pkg.add([\"NAME\"])' for each package that {file} uses"
            elif used:
                listed = ", ".join(f'"{name}"' for name in used)
                yield f"julia -e 'using Pkg; Pkg.add([{listed}])'"
        if command.name in ("srun", "mpirun", "mpiexec") and re.search(r"(?i)mpi", script.source):
            add = 'using Pkg; Pkg.add("MPIPreferences"); using MPIPreferences; MPIPreferences.use_system_binary()'
            yield f"{run} -e '{add}'  # MPI.jl with the MPI of mpirun"


def _using(folder: str, file: str) -> list[str] | None:
    """Packages that a Julia file loads; None if unreadable."""
    text = _read(folder, file)
    if text is None:
        return None
    listed = (name for line in _USING.findall(text) for name in line.partition(":")[0].split(","))
    named = (name.partition(".")[0].strip() for name in listed)
    return [name for name in dict.fromkeys(named) if name and name not in _JULIA]


def _of_r(script: Script, folder: str) -> Iterator[str]:
    scope = Scope.of(script)
    if re.search(r"install\.packages|renv::|BiocManager", script.source):
        return
    for command in script.commands:
        found = launched(command, scope.containers)
        if found.name not in ("Rscript", "R") or found.inside:
            continue
        words = [*found.arguments, *(word for operator, word in command.redirects if operator == "<")]
        files = [text for word in words if (text := scope.expand(word)).endswith((".R", ".r"))][:1]
        read = _read(folder, files[0]) if files else None
        names = [name for name in dict.fromkeys(_LIBRARY.findall(read or "")) if name not in _R]
        if names:
            listed = ", ".join(f'"{name}"' for name in names)
            yield f"sudo Rscript -e 'install.packages(c({listed}), {_CRAN})'"
        elif read is None and files:
            file = one_line(os.path.basename(files[0]))
            yield f"# TODO: sudo Rscript -e 'install.packages(\"NAME\", {_CRAN})' for each package that {file} loads"


def _read(folder: str, file: str) -> str | None:
    """Content of a file in the submit folder, or None."""
    return read_small(Path(folder) / file) if folder and not file.startswith("$") else None
