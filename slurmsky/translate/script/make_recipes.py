"""Reads the commands that ``make`` runs, as a shell script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_RULE = re.compile(r"([^\s#:=][^:=#]*)::?(?![=:])([^=;#]*)(?:[;#].*)?$")
_VARIABLE = re.compile(r"(?:export\s+)?(\w+)\s*(?:\?|:{1,2})?=\s*(.*?)\s*(?:#.*)?$")
_EXPANSION = re.compile(r"\$[({](\w+)[)}]")
_SHELL = re.compile(r"\$\(shell\s+([^()]*)\)")
_FUNCTION = re.compile(r"\$[({][a-z-]+\s[^(){}]*[)}]")
_MOST = 4  # variables within variables


def recipe(makefile: str, arguments: Iterable[str] = ()) -> str:
    """Commands of ``make ARGUMENTS``, on their lines of the makefile.

    Targets without a rule, patterns, and functions of make are ignored.

    >>> recipe("X = a.py\\nall: fit\\nfit:\\n\\t@python $(X) $$HOME\\nclean:\\n\\trm x\\n", ["X=b.py"])
    '\\n\\n\\npython b.py $HOME\\n\\n\\n'
    """
    lines = makefile.split("\n")
    values: dict[str, str] = {}
    rules: dict[str, tuple[list[int], list[str]]] = {}  # target: lines of its recipe, targets before it
    current: list[list[int]] = []
    for number, line in enumerate(lines):
        if line.startswith("\t"):
            for recipe_lines in current:
                recipe_lines.append(number)
            continue
        if (variable := _VARIABLE.match(line)) is not None:
            values.setdefault(variable[1], variable[2])
        rule = _RULE.match(line)
        if rule is None or variable is not None:
            current = current if not line.strip() or line.startswith("#") else []
            continue
        current = []
        for target in rule[1].split():
            own, before = rules.setdefault(target, ([], []))
            before += rule[2].replace("|", " ").split()
            current.append(own)
    words = list(arguments)
    values |= {name: value for name, sign, value in (word.partition("=") for word in words) if sign}
    wanted = [word for word in words if word in rules]
    wanted = wanted or [name for name in rules if not name.startswith(".")][:1]
    used: set[int] = set()
    seen: set[str] = set()
    while wanted:
        target = wanted.pop()
        if target not in seen and target in rules:
            seen.add(target)
            used.update(rules[target][0])
            wanted += rules[target][1]
    kept = (_command(line, values) if number in used else "" for number, line in enumerate(lines))
    return "\n".join(kept) if used else ""


def _command(line: str, values: Mapping[str, str]) -> str:
    """A recipe's line as the shell reads it."""
    text = line.lstrip("\t @-+")
    for _ in range(_MOST):
        text = _EXPANSION.sub(lambda found: values.get(found[1], "${%s}" % found[1]), text)
    return _FUNCTION.sub("", _SHELL.sub(r"`\1`", text)).replace("$$", "$")
