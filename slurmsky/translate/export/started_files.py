"""Finds uses of Slurm in the files that a script starts. They use its variables, its commands, or its module system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...site.record import Site
from ..script.conversion_tables import CLIENTS
from ..script.needs import loaded
from ..script.outside_paths import places, read_unchanged
from ..script.project_folder import Project
from ..script.python_packages import own_files
from ..script.slurm_variables import KNOWN, ONLY_WITH, RENAMED
from ..script.small_files import read_small
from ..script.started_scripts import started_by
from ..shell.script_commands import Script
from ..shell.script_variables import Scope
from ..shell.word_sets import words
from .conversion import Reading
from .conversion_base import TORCHRUN, add_module
from .variable_conversion import DirectiveValues, replacement

_MODULES = words("module ml")
_CALLS = CLIENTS | _MODULES | words("srun scontrol sbcast ibrun")
_VARIABLE = re.compile(r"\$\{?(?P<name>SLURMD?_[A-Z0-9_]+)")
#: a variable that a program of Python, R or Julia reads by its name
_NAMED = re.compile(r"""(?P<before>environ\[|ENV\[)?["'](?P<name>SLURMD?_[A-Z0-9_]+)["']""")
#: variables that differ between the tasks of a node
_OF_TASK = frozenset(("SLURM_PROCID", "SLURM_LOCALID"))
#: a text with a folder of a user or of a cluster's file system
_OLD_PATH = re.compile(
    r"""(?P<quote>["'])(?P<path>/(?:home|Users|users?|scratch|gpfs|lustre|projects?|nfs|mnt|work|data|shares?|storage|u)"""
    r"""\d*/[\w.-]+/[\w./-]*)(?P=quote)"""
)
_LANGUAGES = (".R", ".r", ".jl", ".m", ".pl")


@dataclass
class StartedFiles:
    """The files that one script starts. ``folder``: the submit folder."""

    script: Script
    folder: str
    directives: DirectiveValues
    reading: Reading
    site: Site

    def read(self) -> set[str]:
        """Provide the modules and variables of Slurm that the files use. Returns shell scripts that need no change."""
        scope = Scope.of(self.script)
        plain: set[str] = set()
        above = os.path.normpath(os.path.join(self.folder, "..", ".."))  # for scripts that change into these
        for one in started_by(self.script, scope, Project(above, work_dir=self.folder)):
            calls = [command.name for command in one.script.commands if command.name in _CALLS]
            if calls and not _MODULES.issuperset(calls):
                self.reading.need(
                    one.line, one.name, f"it calls {next(name for name in calls if name not in _MODULES)}"
                )
                continue
            for name in loaded(one.script.source) if calls else ():
                add_module(self.reading, self.site, one.line, name)
            if calls and (line := "module() { :; }; export -f module") not in self.reading.activate:
                self.reading.activate.append(line)
                self.reading.drop(one.line, f"module in {one.name}", "run makes it a command without effect")
            given = _OF_TASK if self.reading.looped else ()
            used = dict.fromkeys(match["name"] for match in _VARIABLE.finditer(one.script.source))
            self._provide(one.line, one.name, [name for name in used if name not in given], required=True)
            self._link(place.text for place in places(one.script, one.scope))
            if not read_unchanged(one.script):
                plain.add(one.name.rpartition("/")[2])
        for name, text in self._programs(scope):
            self._old_paths(name, text)
            found = list(_NAMED.finditer(text))
            indexed = {match["name"] for match in found if match["before"]}
            several = self.directives.ntasks > self.directives.nodes
            if several and indexed & _OF_TASK and not (self.reading.looped or TORCHRUN.search(text)):
                self.reading.need(0, name, "it reads the ranks of Slurm's tasks")
                continue
            for variable in dict.fromkeys(match["name"] for match in found):
                if not (several and variable in _OF_TASK):
                    self._provide(0, name, [variable], variable in indexed)
        return plain

    def _link(self, paths: Iterable[str]) -> None:
        """Link a started file's paths of the workdir."""
        found = (Project(self.folder).former(path) for path in paths)
        for former in dict.fromkeys(path for path in found if path and "$" not in path):
            if former != self.directives.former and former not in self.reading.links:
                self.reading.links.append(former)
                self.reading.workdir = True

    def _old_paths(self, file: str, text: str) -> None:
        """Name the old cluster's paths in a file."""
        code = re.sub(r"(?m)^\s*[#%].*$", "", text)
        former = self.directives.former
        named = [*dict.fromkeys(match["path"] for match in _OLD_PATH.finditer(code))]
        self._link(named)
        known = tuple(path for path in (former, *self.reading.links) if path)
        for path in named:
            if path in self.script.source or path.startswith(known) or os.path.lexists(path):
                continue
            why = "the project's file names this path of the old cluster: edit it, or mount a bucket there"
            self.reading.drop(0, f"{path} in {file}", why, to_do=True)

    def _programs(self, scope: Scope) -> Iterator[tuple[str, str]]:
        """Names and texts of the programs in Python and other languages."""
        for path in own_files(self.script.source, Path(self.folder)):
            yield path.name, read_small(path) or ""
        for command in self.script.commands:
            for word in command.arguments:
                name = scope.expand(word)
                if name.endswith(_LANGUAGES) and not name.startswith(("/", "~", "$")):
                    yield name, read_small(Path(self.folder) / name) or ""

    def _provide(self, line: int, file: str, names: Iterable[str], required: bool) -> None:
        """Set Slurm's variables for a file that reads them."""
        for name in names:
            option = ONLY_WITH.get(name, ("", ""))[0]
            if re.search(rf"\b{name}=", self.script.source):
                continue  # the script sets it for the file
            if not KNOWN.fullmatch(name) or (option and not getattr(self.directives.spec, option)):
                continue  # empty under Slurm, too
            if name == "SLURM_ARRAY_TASK_ID" and not self.directives.array and not required:
                continue
            new = replacement(name, self.directives)
            if name.endswith("NODELIST"):
                new = "$(hostname)" if self.directives.nodes == 1 else None  # a list in Slurm's notation
            if new is None:
                if required:
                    self.reading.need(line, file, f"it reads {name}")
                continue
            if RENAMED.get(name) == "SKYPILOT_TASK_ID":
                new = "$SKYPILOT_MANAGED_JOB_ID"  # a number, as the file expects
            if "$" in new:
                if (text := f"export {name}={new}") not in self.reading.activate:
                    self.reading.activate.append(text)
            else:
                self.reading.envs.setdefault(name, new)
