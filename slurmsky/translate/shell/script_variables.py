"""Variables of a script: values, assigned names, and optional names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .launched_program import in_containers
from .script_commands import Script
from .shell_elements import FILLER, Command, Word

_DECLARES = frozenset(("export", "declare", "local", "readonly", "typeset", "integer", "float"))
_READS = frozenset(("read", "mapfile", "readarray", "getopts", "printf", "unset", "let", "setenv", "set"))
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: variables with which clusters name their file systems
STORES = re.compile(
    r"^(\w*SCRATCH\w*|\w*CCFRWORK|\w*CCFRSTORE|WORK|WORKDIR|PROJECT|PROJECTS|PROJDIR|CFS|DATA|GROUP_HOME|STORE|FAST|FLASH|WRKDIR|WORK2|PROJ_HOME|GROUP|LOCAL|SNIC_TMP|TMP|TEMP"
    r"|(?!PBS_|SGE_|LSB_)\w+_(WORK|STORE|PROJECT)(DIR)?|MEMBERWORK|USERWORK|PROJWORK|DATADIR_ROOT|LOCALDISK|LOCAL_DISK|TMPSHARE)$"
)
_LOOP = re.compile(r"\bfor\s+([A-Za-z_]\w*)\s+in\b", re.ASCII)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)", re.ASCII)
_WITH_DEFAULT = re.compile(r"\$\{(\w+)(?::?([-=+]))((?:[^{}]|\$\{\w+\})*)\}")
#: output of commands of a script, as variables
_PRINTS = {"pwd": "$PWD", "whoami": "$USER", "id -un": "$USER", "id -u -n": "$USER", "dirname $0": "$PWD"}
_MAX = 4096


@dataclass
class Scope:
    """Variables of one script. Unknown parts of an expanded word stay as ``$NAME`` or ``$()``."""

    values: dict[str, str] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    exported: dict[str, Word] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)  # variables with srun's container options
    functions: set[str] = field(default_factory=set)
    stores: dict[str, str] = field(default_factory=dict)  # variable of the old cluster -> replacing folder
    sourced: list[tuple[int, str]] = field(default_factory=list)  # line, expanded file name

    @classmethod
    def of(cls, script: Script, known: Mapping[str, str] | None = None) -> Scope:
        """Read a script's assignments in order.

        A later value replaces an earlier one; two different values make the variable unknown. ``known``: variables
        that the site sets for every job. File-system variables of old clusters (``$SCRATCH``) that the script does not
        set are replaced by a folder of that name: ``stores``.
        """
        scope = cls(values=dict(known or {}))
        for name in dict.fromkeys(_VARIABLE.findall(re.sub(r"(?m)^\s*#.*$", "", script.source))):
            if STORES.match(name) and name not in scope.values and not _sets(script.source, name):
                scope.stores[name] = scope.values[name] = "/" + name.lower().replace("_", "-")
        for statement in script.statements:
            for block in statement.blocks:
                if block.kind == "function" and block.name:
                    scope.functions.add(block.name)
                elif block.kind in ("for", "select") and block.name:
                    scope._set(block.name, None)
        for command in script.commands:
            scope._command(command)
        contained = in_containers(script.commands, scope.containers)
        for command in script.commands:
            inside = any(start < command.start < end for start, end in contained)
            if command.name in ("source", ".") and len(command.words) > 1 and not inside:
                scope.sourced.append((command.line, scope.expand(command.words[1])))
        scope.given.update(_LOOP.findall(script.source))
        for match in re.finditer(r"\(\(\s*(\w+)\s*(?:[-+*/]?=(?!=)|\+\+|--)", script.source):
            scope.given.add(match[1])
        return scope

    def _command(self, command: Command) -> None:
        for given in command.assignments:
            if "--container-" in given.value.raw:
                self.containers.add(given.name)
            value = None if given.append or given.array else self.expand(given.value)
            self._set(given.name, value)
            if command.words:
                self.exported.setdefault(given.name, given.value)
        name = command.name
        if name in _DECLARES:
            self._declare(command)
        elif name == "let":
            matches = (_NAME.match(word.raw.strip("\"'")) for word in command.arguments)
            self.given.update(found[0] for found in matches if found)
        elif name in _READS:
            for word in command.arguments:
                self.given.update(_NAME.findall(word.text or "") if not word.raw.startswith("-") else ())
        for word in command.words:
            for match in re.finditer(r"\$\{(\w+):?=([^{}]*)\}", word.raw):
                self._set(match[1], self.expand(Word(match[2], word.start, word.line)))

    def _declare(self, command: Command) -> None:
        """Record the variables of export, declare and similar commands."""
        for word in command.arguments:
            key, sign, _ = word.raw.partition("=")
            if not _NAME.fullmatch(key):
                continue
            if sign:
                value = Word(word.raw[len(key) + 1 :], word.start + len(key) + 1, word.line)
                self._set(key, None if value.raw.startswith("(") else self.expand(value))
                if command.name == "export":
                    self.exported.setdefault(key, value)
            elif command.name != "export":
                self.given.add(key)

    def _set(self, name: str, value: str | None) -> None:
        self.given.add(name)
        if value is None or (name in self.values and self.values[name] != value and "$" in value):
            self.values.pop(name, None)
        else:
            self.values[name] = value[:_MAX]

    def expand(self, word: Word) -> str:
        """Expand a word's known variables and ``${NAME:-default}``."""
        if word.text is not None:
            return word.text
        return self.expand_text(word.raw, word)

    def expand_text(self, raw: str, word: Word) -> str:
        pieces = []
        for part in word.parts:
            if part.kind == "text":
                pieces.append(part.text)
            elif part.kind == "variable":
                source = raw[part.start : part.end]
                default = _WITH_DEFAULT.fullmatch(source)
                if default and default[2] != "+" and part.name not in self.values:
                    pieces.append(self.expand(Word(default[3].strip("\"'"), word.start, word.line)))
                elif source.startswith("${") and not default and source != "${%s}" % part.name:
                    pieces.append(f"${part.name}")
                else:
                    pieces.append(self.values.get(part.name, f"${part.name}"))
            else:
                text = part.text.strip()
                pieces.append(_PRINTS.get(text, "$()"))
        return "".join(pieces).replace(FILLER, "")[:_MAX]


def _sets(source: str, name: str) -> bool:
    """Return whether a script assigns a variable anywhere, including defaults."""
    return bool(re.search(r"\b%s(\+?=|:?[-=])" % name, source)) or bool(re.search(r"\bread\b.*\b%s\b" % name, source))
