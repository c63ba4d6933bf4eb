"""Replaces ``SLURM_*`` by SkyPilot's variables or known values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...language import shellwords
from ...language.shellwords import Part
from ...model.spec import JobSpec
from ..script.slurm_variables import EXPRESSIONS, KNOWN, ONLY_WITH, RENAMED
from ..shell.script_commands import Script
from ..shell.shell_elements import FILLER, Word

if TYPE_CHECKING:
    from ..script.conversion_tables import Reading

_NAME = re.compile(r"\b(?:SLURMD?|SBATCH|SRUN)_[A-Z0-9_]+\b")


@dataclass(frozen=True)
class DirectiveValues:
    """Values of a job's directives that a script may use."""

    spec: JobSpec
    name: str
    nodes: int
    ntasks: int
    tasks_per_node: int
    gpus: int
    partition: str = ""
    array: tuple[int, ...] = ()  # all indices
    file: str = ""  # the script's name
    folder: str = ""  # the submit folder, where it is known
    former: str = ""  # its path on the old cluster
    image: str = ""  # the image of shifter's directive

    @property
    def whole_node(self) -> bool:
        """Return whether the job has a whole node and no task count. mpirun then starts one task on each CPU."""
        return self.spec.exclusive is not None and self.spec.ntasks is None and self.spec.ntasks_per_node is None

    @property
    def constants(self) -> Mapping[str, str]:
        """Variables whose values are known before the job starts."""
        spec = self.spec
        known: dict[str, object] = {
            "SLURM_NTASKS": self.ntasks,
            "SLURM_NPROCS": self.ntasks,
            "SLURM_JOB_NAME": spec.job_name or self.name,
            "SLURM_LOCALID": 0 if self.tasks_per_node == 1 else None,
            "SLURM_NTASKS_PER_NODE": self.tasks_per_node,
            "SLURM_TASKS_PER_NODE": f"{self.tasks_per_node}(x{self.nodes})" if self.nodes > 1 else self.tasks_per_node,
            "SLURM_CPUS_PER_TASK": spec.cpus_per_task,
            "SRUN_CPUS_PER_TASK": spec.cpus_per_task,
            "SLURM_CPUS_PER_GPU": spec.cpus_per_gpu,
            "SLURM_MEM_PER_NODE": spec.mem_mib,
            "SLURM_MEM_PER_CPU": spec.mem_per_cpu_mib,
            "SLURM_JOB_ACCOUNT": spec.account,
            "SLURM_JOB_PARTITION": self.partition,
            "SLURM_JOB_QOS": spec.qos,
            "SLURM_CLUSTER_NAME": "skypilot",
            "SLURM_GPUS_PER_TASK": (spec.gpus_per_task or "").rpartition(":")[2],
            "SLURM_GPUS": self.gpus * self.nodes if spec.gpus else None,
            "SLURM_PRIO_PROCESS": "0",
            "SLURM_TOPOLOGY_ADDR_PATTERN": "node",
        }
        if self.array:
            known.update(
                SLURM_ARRAY_TASK_COUNT=len(self.array),
                SLURM_ARRAY_TASK_MIN=min(self.array),
                SLURM_ARRAY_TASK_MAX=max(self.array),
                SLURM_ARRAY_TASK_STEP=self.array[1] - self.array[0] if len(self.array) > 1 else 1,
                # elements are separate launches that share this name
                SLURM_ARRAY_JOB_ID=self.name,
            )
        return {name: str(value) for name, value in known.items() if value not in (None, "")}


def value(word: Word, directives: DirectiveValues, values: Mapping[str, str]) -> str | None:
    """Text of a word with known values, else None."""
    if word.text is not None:
        return word.text
    constants = directives.constants
    pieces = []
    for part in word.parts:
        if part.kind == "text":
            pieces.append(part.text)
        elif part.kind == "variable" and not part.parts:
            known = values.get(part.name, constants.get(part.name))
            if part.name in ("SLURM_NNODES", "SLURM_JOB_NUM_NODES"):
                known = str(directives.nodes)
            if known is None:
                return None
            pieces.append(known)
        elif part.kind == "arithmetic":
            number = _sum(part, word.raw, directives, values)
            if number is None:
                return None
            pieces.append(number)
        else:
            return None
    return "".join(pieces).replace(FILLER, "")


def _sum(part: Part, raw: str, directives: DirectiveValues, values: Mapping[str, str]) -> str | None:
    """Value of ``$(( 4 * SLURM_NNODES / 2 ))`` with all names known.

    Operators apply from left to right; parentheses are not supported.
    """
    text = raw[part.start + 3 : part.end - 2].replace("$", "").replace("{", "").replace("}", "")
    tokens = re.findall(r"[A-Za-z_]\w*|\d{1,9}|[-+*/%]|\S", text)
    numbers: list[int] = []
    signs: list[str] = []
    for index, token in enumerate(tokens):
        if index % 2:
            if token not in "+-*/%":
                return None
            signs.append(token)
            continue
        if token in ("SLURM_NNODES", "SLURM_JOB_NUM_NODES"):
            token = str(directives.nodes)
        else:
            token = values.get(token, directives.constants.get(token, token))
        if not token.isdecimal() or len(token) > 9:
            return None
        numbers.append(int(token))
    if len(numbers) != len(signs) + 1:
        return None
    total = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign in "/%" and number == 0:
            return None
        if sign == "*":
            total[-1] *= number
        elif sign == "/":
            total[-1] //= number
        elif sign == "%":
            total[-1] %= number
        else:
            total.append(number if sign == "+" else -number)
    return str(sum(total)) if abs(sum(total)) < 10**12 else None


def harmless(word: Word) -> bool:
    """Return whether assigning this value has no side effect."""
    return "$(" not in word.raw and "`" not in word.raw


def replacement(name: str, directives: DirectiveValues) -> str | None:
    """Replacement for a variable, or None. It is "$NAME", an expression, or a value."""
    if name == "SLURM_PROCID" and directives.tasks_per_node > 1:
        return None
    if name in ("SLURM_LOCALID",) and directives.tasks_per_node > 1:
        return None
    constants = directives.constants
    if name in RENAMED:
        return "$" + RENAMED[name]
    if name in ("SLURM_NTASKS", "SLURM_NPROCS") and directives.ntasks == directives.nodes > 1:
        return "$SKYPILOT_NUM_NODES"
    return EXPRESSIONS.get(name, constants.get(name))


def rename(script: Script, directives: DirectiveValues, found: Reading, removed: Iterable[tuple[int, int]]) -> None:
    """Replace every variable of Slurm in the script. Variables without a replacement are added to ``needs``."""
    gone = [*removed, *((at, at + len(text)) for at, text in script.comments)]
    seen: set[int] = set()
    own = {given.name for command in script.commands for given in command.assignments}
    own |= {
        word.raw.partition("=")[0] for command in script.commands if command.name == "export" for word in command.words
    }
    printed = _ARRAY_ID if not directives.array and _only_printed(script, _ARRAY_ID) else ""
    # variables of the script, although they begin with SLURM
    own = {name for name in own if replacement(name, directives) is None}
    for word, part in _all_variables(script):
        at = word.start + part.start
        if (
            at in seen
            or not _NAME.fullmatch(part.name)
            or part.name in own
            or any(start <= at < end for start, end in gone)
        ):
            continue
        seen.add(at)
        if part.name == printed:
            found.drop(word.line, f"${printed}", "Slurm sets it only with --array: empty, as under Slurm")
            continue
        _rename_one(script.source[at : word.start + part.end], at, word.line, part.name, directives, found)
    for start, end, expanded in script.documents:
        for match in _VARIABLE.finditer(script.source, start, end):
            if expanded and _NAME.fullmatch(match["name"]) and match["name"] not in own and match.start() not in seen:
                seen.add(match.start())
                line = script.source.count("\n", 0, match.start()) + 1
                _rename_one(match[0], match.start(), line, match["name"], directives, found)
    covered = {at + offset for at in seen for offset in (0, 1, 2)}
    for match in _NAME.finditer(script.source):
        at = match.start()
        if at in covered or match[0] in own or any(start <= at < end for start, end in gone):
            continue
        _unseen(script, match, directives, found)


_ARRAY_ID = "SLURM_ARRAY_TASK_ID"


def _only_printed(script: Script, name: str) -> bool:
    """Return whether a variable only occurs in the script's messages."""
    printed = [
        script.text(command) for command in script.commands if command.name in ("echo", "printf") and not command.depth
    ]
    return sum(text.count(name) for text in printed) == re.sub(r"(?m)#.*$", "", script.source).count(name)


_VARIABLE = re.compile(r"(?<!\\)\$\{?(?P<name>[A-Za-z_]\w*)\}?", re.ASCII)


def _all_variables(script: Script) -> Iterable[tuple[Word, Part]]:
    for command in script.commands:
        words = [
            *command.words,
            *(given.value for given in command.assignments),
            *(word for _, word in command.redirects),
        ]
        for word in words:
            for part in word.variables:
                yield word, part
            if word.raw.startswith("("):  # an array: its elements are separate words
                for part in shellwords.variables(shellwords.parse(word.raw[1:-1])):
                    yield Word(word.raw[1:-1], word.start + 1, word.line), part
    for statement in script.statements:
        for block in statement.blocks:
            for word in block.words:
                for part in word.variables:
                    yield word, part


def _unseen(script: Script, match: re.Match[str], directives: DirectiveValues, found: Reading) -> None:
    """Replace a name that the word grammar does not find.

    Such names are in (( )), in awk or Python text, or set by the script.
    """
    source, at, name = script.source, match.start(), match[0]
    line = source.count("\n", 0, at) + 1
    text = source[source.rfind("\n", 0, at) + 1 : source.find("\n", at) if source.find("\n", at) >= 0 else len(source)]
    if source[match.end() : match.end() + 1] == "=" or re.search(r"\b(unset|export)\s+(\w+\s+)*%s\b" % name, text):
        return  # the script sets the variable
    if re.search(r"(^|;|then|else|do|&&|\|\|)\s*(echo|printf)\b", text) and source[at - 1 : at] not in ("$", "{"):
        return  # a word of a message
    new = replacement(name, directives)
    if new is not None and (source[at - 1 : at] == "$" or source[at - 2 : at] == "${"):
        if source[at - 1 : at] == "{":
            end = match.end() + 1
            if source[match.end() : end] == "}":
                found.edit(at - 2, end, new)
                return
        else:
            found.edit(at - 1, match.end(), new)
            return
    arithmetic = r"(\(\([^\n]*|\$\{\w+\[[\s\w*/+%%()-]*)%s" % name  # (( NAME + 1 )), ${tasks[NAME - 1]}
    if new is not None and re.fullmatch(r"\$\w+", new) and re.search(arithmetic, text):
        found.edit(at, match.end(), new[1:])
        return
    if KNOWN.fullmatch(name):
        found.need(line, text, f"{name} is read by a program, where no shell expands it")


def _rename_one(text: str, at: int, line: int, name: str, directives: DirectiveValues, found: Reading) -> None:
    new = replacement(name, directives)
    field, option = ONLY_WITH.get(name, ("", ""))
    if new is None and option and not getattr(directives.spec, field):
        found.drop(line, text, f"Slurm sets it only with {option}: empty, as under Slurm")
        return
    if new is None and not KNOWN.fullmatch(name):
        found.drop(line, text, "not a variable of Slurm: empty, unless --env sets it")
        return
    if new is None:
        default = re.match(r"\$\{\w+:?-([^{}$`]*)\}\Z", text)
        if default and name not in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_RESTART_COUNT"):
            return  # the script allows for the variable's absence
        found.need(line, text, f"SkyPilot has no counterpart of {name}")
        return
    if name.endswith("NODELIST") and re.match(r"\$\{\w+(:\s?\d|[%#/])", text):
        found.need(line, text, "it cuts the names of nodes, and SkyPilot's nodes have addresses")
        return
    if new.startswith("$") and re.fullmatch(r"\$\w+", new):
        target = new[1:]
        if target == "SKYPILOT_TASK_ID" and (found.calculates or not text.startswith("$")):
            target = "SKYPILOT_MANAGED_JOB_ID"  # a number is required; the task id is a string
        found.edit(at, at + len(text), text.replace(name, target, 1))
        return
    operator = re.match(r"\$\{[#!]?\w+(.*)\}\Z", text, re.DOTALL)
    if operator and operator[1] and not operator[1].startswith((":-", "-", "[")):
        # ${NAME:+...} and similar need a variable: it is set
        if new.startswith("$"):
            if f"export {name}={new}" not in found.activate:
                found.activate.append(f"export {name}={new}")
        else:
            found.envs[name] = new
        return
    found.edit(at, at + len(text), new)


def rename_text(text: str, directives: DirectiveValues, found: Reading) -> str:
    """Replace Slurm's variables in a moved piece of the script."""
    for match in reversed(list(_VARIABLE.finditer(text))):
        if _NAME.fullmatch(match["name"]):
            new = replacement(match["name"], directives)
            if new is None:
                found.need(0, text, f"SkyPilot has no counterpart of {match['name']}")
            else:
                text = text[: match.start()] + new + text[match.end() :]
    return text
