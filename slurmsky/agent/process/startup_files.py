"""Keeps the agent's commands first on PATH after startup files.

/etc/profile and a user's own files may replace PATH, as Debian's /etc/profile does in login shells; ``srun`` is then
missing, or that of another Slurm. PATH is therefore extended between the startup files and the script, by a method for
each shell. bash reads $BASH_ENV last, also as a login shell. Other shells get a command by ``-c`` that extends PATH and
sources the batch script, which keeps $0, arguments and exit code. No file of the user is changed.

``conda activate`` needs conda's shell function, which startup files of login nodes define: bash gets it at the first
use. A script for sh that has bash's words is run by bash if sh is another shell.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Optional, Sequence

from ... import paths
from .processes import shebang

#: name of the file for BASH_ENV, in the agent's folder
BASH_ENV_FILE = "slurmsky_bash_env"
#: variable that keeps the caller's BASH_ENV
CALLERS_BASH_ENV = paths.BASH_ENV
_SHIMS = "/site/shims"  # ``module`` for shells that import no functions from the environment

_BASH = """\
# slurmsky: its commands stay first on PATH after a login shell's profile. Not traced by bash -x.
{{ case $PATH: in
  {first}:*) ;;
  *) if shopt -q login_shell || [[ :$PATH: != *:{first}:* ]]; then PATH={first}:$PATH; fi ;;
esac; }} 2> /dev/null
{{ declare -F conda || ! type -P conda || conda() {{
  unset -f conda; eval "$(command conda shell.bash hook)"; conda "$@"
}}
declare -F mamba || ! type -P mamba || mamba() {{
  case ${{1-}} in activate | deactivate) conda "$@" ;; *) command mamba "$@" ;; esac
}}; }} > /dev/null 2>&1
{{ [ -r "${{SLURMSKY_BASH_ENV:-}}" ]; }} 2> /dev/null && . "$SLURMSKY_BASH_ENV"
"""
#: words that bash as sh has and dash lacks; on most clusters sh is bash
_OF_BASH = re.compile(rb"(?m)^[ \t]*(?:module|ml|source|(?:conda|mamba) activate|declare|shopt|pushd)[ \t]|\[\[ |<<<")
_POSIX = '{{ case $PATH: in {first}:*) ;; *) PATH={first}:$PATH{last} ;; esac; export PATH; }} 2> /dev/null; . "$0"'
_CSH = "set path = ( {first} $path:q {last} ); source {script} $argv:q"
_FISH = "set -gx PATH {first} $PATH {last}"

_LOGIN_ONLY = frozenset({"sh", "dash", "ash", "ksh", "ksh93", "mksh"})  # read startup files only as login shells
_CSHELLS = frozenset({"csh", "tcsh"})


def write_bash_env(folder: str, bin_folder: str) -> str:
    """Write the file for BASH_ENV into the agent's folder. Return its path, or "" if it cannot be written."""
    path = os.path.join(folder, BASH_ENV_FILE)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(_BASH.format(first=shlex.quote(bin_folder)))
    except OSError:
        return ""
    return path


def add_bash_env(env: dict[str, str], path: str) -> None:
    """Make bash read ``path`` after its startup files. That file sources the caller's BASH_ENV."""
    own = env.get("BASH_ENV", "")
    if own and os.path.basename(own) != BASH_ENV_FILE:
        env[CALLERS_BASH_ENV] = own
    env["BASH_ENV"] = path


def remove_bash_env(env: dict[str, str]) -> None:
    """Undo ``add_bash_env``."""
    own = env.pop(CALLERS_BASH_ENV, "")
    if os.path.basename(env.get("BASH_ENV", "")) == BASH_ENV_FILE:
        del env["BASH_ENV"]
    if own:
        env["BASH_ENV"] = own


def command(script: str, arguments: Sequence[str], first: str, path: str) -> Optional[list[str]]:
    """Return the command line that runs a script with ``first`` on PATH.

    After its shell's startup files. None: execute the script directly. ``path``: PATH of the script's environment.
    """
    line = (shebang(script) or "").split(None, 1)
    if not line or not first or not path or not os.access(line[0], os.X_OK):
        return None  # the kernel runs or refuses the script
    program, flag = line[0], line[1].strip() if len(line) > 1 else ""
    start = [program, flag] if flag else [program]
    if os.path.basename(program) == "env" and not flag.startswith("-"):
        program, flag = flag, ""  # the kernel passes the rest of the line as one argument
    name, letters = os.path.basename(program), flag.lstrip("-") if not flag.startswith("--") else ""
    last = path.split(":")[-1]
    last = shlex.quote(last) if last.endswith(_SHIMS) else ""
    first = shlex.quote(first)
    if name == "sh" and (bash := _bash_for(program, script)):
        return [bash, *([flag] if flag else []), script, *arguments]
    if (name in _LOGIN_ONLY and (flag == "--login" or "l" in letters)) or (name == "zsh" and "f" not in letters):
        return [*start, "-c", _POSIX.format(first=first, last=":" + last if last else ""), script, *arguments]
    if name in _CSHELLS and "f" not in letters and not _reads_own_name(script):
        return [*start, "-c", _CSH.format(first=first, last=last, script=shlex.quote(script)), *arguments]
    if name == "fish":
        return [*start, "-C", _FISH.format(first=first, last=last), script, *arguments]
    return None


def _bash_for(shell: str, script: str) -> Optional[str]:
    """Path of bash for a script that sh cannot run."""
    if os.path.basename(os.path.realpath(shell if "/" in shell else "/bin/sh")).startswith("bash"):
        return None
    paths_of_bash = (os.path.join(folder, "bash") for folder in os.defpath.split(":"))
    bash = next((path for path in paths_of_bash if os.access(path, os.X_OK)), None)
    try:
        with open(script, "rb") as file:
            return bash if _OF_BASH.search(file.read()) else None
    except OSError:
        return None


def _reads_own_name(script: str) -> bool:
    """True if a script reads $0, which csh's source does not set."""
    try:
        with open(script, "rb") as file:
            return b"$0" in file.read()
    except OSError:
        return True
