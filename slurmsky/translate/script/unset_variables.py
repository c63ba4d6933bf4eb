"""Variables that a script reads and its caller must set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from ..shell.launched_program import launched
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command, Word
from ..shell.word_sets import words
from .slurm_variables import KNOWN

_SLURM = re.compile(r"\b(?:SLURMD?|SBATCH|SRUN)_\w+\b")
#: variables set by every shell, by login or by SkyPilot
_ALWAYS = words(
    """
    HOME USER LOGNAME PWD OLDPWD PATH SHELL HOSTNAME RANDOM SECONDS UID EUID PPID BASHPID LINENO FUNCNAME BASH
    BASH_SOURCE BASH_VERSION PIPESTATUS IFS OPTARG OPTIND OPTERR REPLY OSTYPE HOSTTYPE MACHTYPE LANG LC_ALL TERM
    EPOCHSECONDS PS1 EPOCHREALTIME SHELLOPTS TMPDIR LD_LIBRARY_PATH PYTHONPATH CUDA_VISIBLE_DEVICES MAIL EDITOR
    DISPLAY BASH_REMATCH LIBRARY_PATH CPATH MANPATH PKG_CONFIG_PATH HOST GROUPS SHLVL ROCR_VISIBLE_DEVICES
    HIP_VISIBLE_DEVICES COLUMNS LD_PRELOAD CLASSPATH BASH_LINENO BASH_ARGV0 DIRSTACK COMP_WORDS XDG_RUNTIME_DIR
    SSH_CLIENT MODULEPATH argv PYTHONSTARTUP CONDA_EXE INCLUDE CPPFLAGS LDFLAGS CFLAGS CXXFLAGS FFLAGS PERL5LIB
    DEBUG BASH_ENV PROMPT_COMMAND OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_SIZE PMI_RANK
    PMI_SIZE LOCAL_RANK RANK WORLD_SIZE PROCID PALS_RANKID PMIX_RANK MV2_COMM_WORLD_RANK MV2_COMM_WORLD_LOCAL_RANK
    NODE_RANK
    """
)
#: variables of the Python environment that a script enters
ENTERED = words(
    """
    CONDA_PREFIX CONDA_DEFAULT_ENV VIRTUAL_ENV
    """
)
_SAYS_ONLY = words(
    """
    echo printf test [ [[ : unset date logger true
    """
)
#: minimum number of unset variables that shows that another script exports them
INPUTS = 3
#: names of inputs; modules and clusters set EBROOT*, *_ROOT and *_HOME
INPUT = re.compile(r"(?!EBROOT|\w*_(?:ROOT|HOME|MODULE)$)[A-Za-z]\w*")
_LISTS = re.compile(r"^([A-Z]*PATH|\w+_(LIBRARY|RUN|INCLUDE|CONFIG)_PATH|LD_PRELOAD|\w*FLAGS|\w*_OPTS|\w*OPTIONS)$")


def unset_variables(script: Script, scope: Scope) -> dict[str, int]:
    """Variables that the script does not set, with their first lines."""
    found: dict[str, int] = {}
    optional = _optional(script.source)
    for command in script.commands:
        if launched(command, scope.containers).inside and command.depth:
            continue
        for word in _used(command):
            for part in word.variables:
                name = part.name
                if name in found or not re.match(r"[A-Za-z_]", name) or name in _ALWAYS or name in optional:
                    continue
                source = word.raw[part.start : part.end]
                if name in scope.given or re.match(r"\$\{[#!]?\w+(\[[^]]*\])?:?[-+=]", source):
                    continue
                if name.rstrip("_") in scope.given or source.endswith(("[@]}", "[*]}")):
                    continue  # $A_$B for ${A}_$B, or an empty list: empty on any cluster
                if word.raw == source and name.startswith("FLAGS_"):
                    continue  # a site's own options for mpiexec, empty elsewhere
                if not _of_slurm(name) and not name.startswith(("SKYPILOT_", "SLURMSKY_")):
                    found[name] = word.line
    return found


def _of_slurm(name: str) -> bool:
    """Return whether Slurm or its site sets a variable. A folder with a prefix of Slurm is the user's."""
    return bool(_SLURM.fullmatch(name) and (KNOWN.fullmatch(name) or not _OWN_FOLDER.search(name)))


_OWN_FOLDER = re.compile(r"_(?:HOME|ROOT|DIR|PATH|FOLDER)$")
_ALONE = re.compile(r'"?\$\{?\w+\}?"?')
_OPTION = re.compile(r"-(?!jar$|cp$)")
#: variables of other schedulers, and those whose names denote folders
_NO_VALUE = re.compile(r"(?:^|_)(?:PBS|MSUB|LSB|SGE|PJM|COBALT|OAR|FLUX)_|(?:DIR|PATH|FOLDER|ROOT|HOME)S?$")


def values_read(script: Script, scope: Scope, names: Iterable[str]) -> set[str]:
    """Variables whose value is an argument or part of a text.

    A cluster sets variables that name its folders, programs and files; values are the caller's. Not a value: the
    beginning of a path, a folder that is entered, a program, an image, a program's plain argument.
    """
    places: set[str] = set()
    for command in script.commands:
        found = launched(command, scope.containers)
        whole = [*command.words[:1], *found.words[:1], *([found.image] if found.image else []), *found.mounts]
        pairs = pairwise(command.words)
        whole += [word for before, word in pairs if _ALONE.fullmatch(word.raw) and not _OPTION.match(before.raw)]
        whole += [given.value for given in command.assignments if _ALONE.fullmatch(given.value.raw)]
        places.update(part.name for word in whole for part in word.variables)
        for word in (*command.words, *(given.value for given in command.assignments)):
            places.update(part.name for part in word.variables if re.match(r'"?/', word.raw[part.end :]))
    return {name for name in names if name not in places and not _NO_VALUE.search(name)}


def _used(command: Command) -> Iterator[Word]:
    """Words with relevant variables. Words that are only printed or tested do not count."""
    for given in command.assignments:
        if not _LISTS.match(given.name):
            yield given.value
    if command.name in _SAYS_ONLY or command.name in ("module", "ml"):
        return
    for word in command.words:
        name, sign, _ = word.raw.partition("=")
        declares = command.name in ("export", "setenv", "local", "declare", "readonly", "typeset")
        if declares and (not sign or _LISTS.match(name)):
            continue
        yield word
    for operator, word in command.redirects:
        if operator.lstrip("0123456789") not in ("<<", "<<-", "<<<"):
            yield word


def _optional(source: str) -> set[str]:
    """Names that the script tests, or reads with a default."""
    found = set(re.findall(r"(?:\[\[?|\btest|&&|\|\||!)\s+-[zn]\s+\"?\$\{?(\w+)", source))
    found |= set(re.findall(r"-v\s+(\w+)", source))
    found |= set(re.findall(r"\$\{(\w+):?[-+=]", source))
    found |= set(re.findall(r"\[\[?\s+!?\s*\"?\$\{?(\w+)\}?\"?\s+(?:==?|!=)", source))
    return found
