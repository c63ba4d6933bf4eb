"""State of a script's conversion, with helpers of all idioms."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...options.getopt import split
from ...options.table import load
from ...site.modules import find
from ...site.record import Site
from ..script.conversion_tables import CHECKPOINT, INPUT, LOAD, Reading
from ..script.mount_points import is_mounted, on_every_node
from ..script.work_folder import code_folder
from ..shell.launched_program import in_containers
from ..shell.script_commands import Script, parse
from ..shell.script_variables import Scope
from ..shell.shell_elements import Command, Statement, Word
from . import variable_conversion
from .variable_conversion import DirectiveValues

#: files with a model's state, which programs without a save option read
_STATE = re.compile(r"\.(ckpt|pth?|h5|hdf5|pkl|safetensors|npz)$")
#: a program that reads torchrun's variables
TORCHRUN = re.compile(r"""["'](LOCAL_)?RANK["']|env://""")
#: prints the address of the first node
HEAD_ADDRESS = 'echo "$SKYPILOT_NODE_IPS" | head -n 1'


def expands(name: str, text: str) -> bool:
    """Return whether a shell text reads a variable."""
    return bool(re.search(rf"\$\{{?[#!]?{re.escape(name)}\b|\(\([^)]*\b{re.escape(name)}\b", text))


def add_module(found: Reading, site: Site, line: int, name: str) -> None:
    """Record a module that the script loads."""
    module = find(site, name)
    if module is None:
        found.unknown_modules.append((line, name))
        return
    found.modules.append(module)
    found.envs.update(module.environment)
    if module.activate and module.activate not in found.activate:
        found.activate.append(module.activate)
        found.setup[:0] = [module.setup, module.activate]  # setup installs later packages into it
    elif module.setup and module.setup not in found.setup:
        found.setup.append(module.setup)
        if module.path and not module.activate:
            path = f'export PATH="{module.path.replace("~", "$HOME", 1)}:$PATH"'
            found.setup.append(path)
            found.activate.append(path)


class Base:
    """Script, known values of the job, and results so far."""

    def __init__(self, script: Script, directives: DirectiveValues, site: Site) -> None:
        self.script = script
        self.directives = directives
        self.site = site
        self.found = Reading()
        self.image = ""  # image of the script's containers, which becomes the task's
        self.everywhere: set[Statement] = set()  # statements that Slurm, too, runs on all nodes
        self.processed: set[int] = set()  # start offsets of commands that an idiom has processed
        self.removed: list[tuple[int, int]] = []
        self.values: dict[str, str] = {}  # the script's variables with known values
        self.lists = ""  # omitted search paths
        self.folders: list[str] = []  # arguments of cd so far
        self.table = load("srun")
        self.scope = Scope.of(script)
        self.worked = False  # whether a program other than preparations has run
        self.code = directives.former or code_folder(script, self.scope)
        self.contained = in_containers(script.commands, self.scope.containers)

    def _commands(self, statement: Statement) -> list[Command]:
        return [command for command in self.script.commands if statement.start <= command.start < statement.end]

    def _remove(self, statement: Statement) -> None:
        self.removed.append((statement.start, statement.end))
        self.found.edit(statement.start, statement.end, "")

    def _clear(self, command: Command) -> None:
        """Remove a command within a larger statement; ``:`` takes its place where the shell needs one."""
        source, start, end = self.script.source, command.start, command.words[-1].end
        line = source[source.rfind("\n", 0, start) + 1 : (source + "\n").index("\n", end)]
        alone = line.strip() == source[start:end].strip() and command.blocks
        others = any(
            other.blocks == command.blocks and other.words and not (start <= other.start < end)
            for other in self.script.commands
        )
        self.found.edit(start, end, "" if alone and others else ":")
        self.removed.append((start, end))

    def _is_removed(self, at: int) -> bool:
        return any(start <= at < end for start, end in self.removed)

    def _is_gone(self, statement: Statement) -> bool:
        return any(start <= statement.start and statement.end <= end for start, end in self.removed)

    def _is_read(self, name: str) -> bool:
        """Return whether a variable occurs in the remaining or new text."""
        return len(re.findall(r"\b%s\b" % re.escape(name), self._rest())) > 1

    def _rest(self) -> str:
        """The remaining text with the replacements."""
        rest, at = "", 0
        for start, end in sorted(self.removed):
            rest += self.script.source[at:start]
            at = max(at, end)
        return rest + self.script.source[at:] + "".join(text for _, _, text in self.found.edits)

    def _arrays(self, command: Command) -> None:
        """Read ARGS=(--save DIR ...) as part of a command line."""
        for given in command.assignments:
            if given.array:
                inner = parse(given.value.raw[1:-1].replace("\n", " "), given.value.start + 1, given.value.line)
                for statement in inner.statements:
                    for part in statement.commands:
                        self._paths(part.words)

    def _program(self, command: Command) -> int:
        """Index of the program's word after srun's options."""
        if command.name != "srun":
            return 0
        rest = split(self.table, [word.text_or_source for word in command.words[1:]]).rest
        return len(command.words) - len(rest)

    def _paths(self, words: Sequence[Word], targets: tuple[str, ...] = ()) -> None:
        """Collect absolute paths of the old cluster.

        Paths for checkpoints need a bucket. ``targets``: folders inside the container in which the command runs.
        """
        texts = [variable_conversion.value(word, self.directives, self.values) or "" for word in words]
        for index, text in enumerate(texts):
            option, equals, given = text.partition("=")
            path, named = (
                (given, option) if equals and option.startswith("-") else (text, texts[index - 1] if index else "")
            )
            if not re.match(r"/[\w.-]+/?[^\s:]*$", path) or on_every_node(path) or path.startswith("/opt/"):
                continue
            if is_mounted(path, targets) or named == "--pwd":  # of a container
                continue
            if named.startswith("-") and CHECKPOINT.search(named.lower()) and not INPUT.search(named.lower()):
                if LOAD.search(named.lower()) or (_STATE.search(path) and not re.search(r"save|out", named.lower())):
                    self.found.loaded.append((words[index].line, path))
                elif path not in self.found.checkpoints:
                    self.found.checkpoints.append(path)
            elif index:
                self.found.paths.append((words[index].line, path))
