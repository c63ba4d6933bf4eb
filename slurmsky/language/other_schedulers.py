"""#PBS and #BSUB lines, translated to words of sbatch.

Source: slurm src/sbatch/xlate.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from slurmsky.language import hostlist
from slurmsky.language._grammar import Grammar, number
from slurmsky.language.directives import ScriptError, lines, split
from slurmsky.language.syntax_errors import DirectiveError

_MAX_OTHER_LINES = 100  # xlate_batch_script stops after this many lines that are not comments


class BadOtherDirective(ScriptError):
    """A #PBS or #BSUB word that sbatch does not know."""


@dataclass(frozen=True)
class OtherDirectives:
    """The family found, and its options as words of sbatch.

    The family is `PBS`, `BSUB`, or "" for none. An option is always one word, `--name=value` or `-xvalue`, so values
    need no quoting.
    """

    family: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Family:
    letters: str  # as for getopt: a colon after an option with a value
    names: dict[str, str]  # long option -> letter
    becomes: dict[str, str]  # letter -> sbatch's word, to which the value is appended; other letters are ignored


_FAMILIES = {
    "BSUB": _Family(
        "c:e:J:m:M:n:o:q:W:x",
        {
            "cwd": "c",
            "error_file": "e",
            "job_name": "J",
            "hostname": "m",
            "memory_limit": "M",
            "output_file": "o",
            "queue_name": "q",
            "time": "W",
            "exclusive": "x",
        },
        {
            "c": "--chdir=",
            "e": "--error=",
            "J": "--job-name=",
            "o": "--output=",
            "m": "--nodelist=",
            "M": "--mem-per-cpu=",
            "n": "--ntasks=",
            "q": "--partition=",
            "W": "--time=",
            "x": "--exclusive",
        },
    ),
    "PBS": _Family(
        "a:A:c:C:d:e:hIj:J:k:l:m:M:N:o:p:q:r:S:t:u:v:VW:w:z",
        {
            "start_time": "a",
            "account": "A",
            "checkpoint": "c",
            "working_dir": "C",
            "error": "e",
            "hold": "h",
            "interactive": "I",
            "join": "j",
            "job_array": "J",
            "keep": "k",
            "resource_list": "l",
            "mail_options": "m",
            "mail_user_list": "M",
            "job_name": "N",
            "out": "o",
            "priority": "p",
            "destination": "q",
            "rerunable": "r",
            "script_path": "S",
            "array": "t",
            "running_user": "u",
            "variable_list": "v",
            "all_env": "V",
            "attributes": "W",
            "no_std": "z",
        },
        {
            "a": "--begin=",
            "A": "--account=",
            "e": "--error=",
            "o": "--output=",
            "w": "--chdir=",
            "d": "--chdir=",
            "h": "--hold",
            "J": "--array=",
            "t": "--array=",
            "m": "--mail-type=",
            "M": "--mail-user=",
            "N": "--job-name=",
            "p": "--nice=",
            "q": "--partition=",
            "v": "--export=",
            "l": "",
            "W": "",
        },
    ),
}


def parse(script: bytes, name: str = "") -> OtherDirectives:
    """Options of the #BSUB lines, else of the #PBS lines.

    Raises BadOtherDirective with the line that sbatch prints.

    >>> parse(b"#!/bin/sh\\n#PBS -N a -l nodes=2:ppn=3,walltime=1:00:00\\n").words
    ('--job-name=a', '--nodes=2', '--ntasks=6', '--time=1:00:00')
    """
    for family, rules in _FAMILIES.items():  # BSUB takes precedence
        words = _script_words(script, "#" + family, name)
        if words is not None:
            return OtherDirectives(family, tuple(_translated(family, _options(words, rules, family))))
    return OtherDirectives()


def _script_words(script: bytes, magic: str, name: str) -> Optional[list[str]]:
    """All words after `magic`; None without such a line."""
    words: Optional[list[str]] = None
    others = 0
    for line_number, line in lines(script):
        if line.startswith(magic):
            words = [*(words or []), *split(line[len(magic) :], name, line_number)]
        elif not line.startswith("#"):
            others += 1
            if others > _MAX_OTHER_LINES:
                break
    return words


def _options(words: list[str], rules: _Family, family: str) -> Iterator[tuple[str, str]]:
    """Pairs (letter, value) as getopt_long finds them."""
    queue = iter(enumerate(words))
    for index, word in queue:
        if family == "BSUB" and word == "-cwd" and index % 2 == 0:
            word = "-c"  # LSF's long name after one dash
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            matches = [long for long in rules.names if long == name] or [
                long for long in rules.names if long.startswith(name)
            ]
            if len(matches) != 1:
                raise _unknown(word)
            letter = rules.names[matches[0]]
            if letter + ":" in rules.letters and not equals:
                value = _next(queue, word)
            yield letter, value
        elif word.startswith("-") and len(word) > 1 and word != "--":
            rest = word[1:]
            while rest:
                letter, rest = rest[0], rest[1:]
                if letter == ":" or letter not in rules.letters:
                    raise _unknown(word)
                if letter + ":" in rules.letters:
                    yield letter, rest or _next(queue, word)
                    break
                yield letter, ""
        else:
            raise BadOtherDirective(word, 0, f"Invalid argument: {word}")


def _next(queue: Iterator[tuple[int, str]], word: str) -> str:
    try:
        return next(queue)[1]
    except StopIteration:
        raise _unknown(word) from None


def _unknown(word: str) -> BadOtherDirective:
    # getopt prints its own line; sbatch then prints getopt's return value, a `?`
    return BadOtherDirective(word, 0, "Unrecognized command line parameter ?")


def _translated(family: str, options: Iterator[tuple[str, str]]) -> Iterator[str]:
    becomes = _FAMILIES[family].becomes
    exported: list[str] = []
    for letter, value in options:
        if family == "PBS" and letter == "l":
            yield from _resources(value)
        elif family == "PBS" and letter == "W":
            yield from _attribute(value)
        elif family == "PBS" and letter == "v":
            exported.append(value)
            yield becomes["v"] + ",".join(exported)
        elif letter in becomes:
            yield becomes[letter] + _VALUES.get(family + letter, str)(value)


def _mail(value: str) -> str:
    """Convert PBS's letters to --mail-type: b(egin), e(nd), a(bort), n(one)."""
    lower = value.lower()
    if "n" in lower:
        return "NONE"
    return ",".join(event for letter, event in (("b", "BEGIN"), ("e", "END"), ("a", "FAIL")) if letter in lower)


def _most_tasks(value: str) -> str:
    """The larger count of LSF's MIN,MAX."""
    least, comma, most = value.partition(",")
    if comma and not most:
        raise BadOtherDirective(value, 0, f"#BSUB -n format not correct given: '{value}'")
    return most or least


_VALUES = {
    "PBSm": _mail,
    "BSUBm": lambda value: value.replace(" ", ","),
    "BSUBM": lambda value: value + "K" if value[-1:].isdecimal() else value,  # LSF counts in KB
    "BSUBn": _most_tasks,
}


def _attribute(value: str) -> Iterator[str]:
    name, _, rest = value.partition("=")
    if name.lower() == "umask":
        yield f"--umask={rest}"
    elif name.lower() == "depend":
        yield f"--dependency={rest}"


class _Build:
    def nodes(self, token: str) -> tuple[str, str]:
        return "nodes", token[len("nodes=") :]

    def named(self, name: str, value: Optional[str]) -> tuple[str, str]:
        return str(name), str(value or "")

    def timed(self, token: str) -> tuple[str, str]:
        return "time", token.partition("=")[2]

    def junk(self, token: str) -> tuple[str, str]:
        return "", ""  # skipped, as xlate.c does character by character

    def part(self, token: str) -> tuple[str, str]:
        kind: str = token.type  # type: ignore[attr-defined]  # a lark Token
        return kind, token.partition("=")[2] if kind in ("PPN", "GPUS") else str(token)

    def start(self, *pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return pairs

    nodes_of = start


_BUILD = _Build()
_RESOURCES: Grammar[tuple[tuple[str, str], ...]] = Grammar("other_schedulers", _BUILD, DirectiveError)
_NODES: Grammar[tuple[tuple[str, str], ...]] = Grammar("other_schedulers", _BUILD, DirectiveError, start="nodes_of")

_SIMPLE = {
    "nice": "--nice=",
    "proc": "--constraint=",
    "mpiprocs": "--ntasks-per-node=",
    "ncpus": "--mincpus=",
    "select": "--nodes=",
}
_ANY_CASE = {"mpiprocs", "ncpus", "select", "accelerator", "naccelerators"}


def _resources(text: str) -> Iterator[str]:
    """Words of sbatch for one -l list. Names that Slurm skips (arch, host, pmem, vmem, ...) give no word."""
    pairs = [(name.lower() if name.lower() in _ANY_CASE else name, value) for name, value in _RESOURCES.parse(text)]
    values = dict(pairs)
    gpus = 0
    for name, value in pairs:
        if name == "nodes":
            yield from _nodes(value)
        elif name == "time":
            yield f"--time={value}"
        elif name in ("mem", "file"):
            # Torque writes gb and mb, sbatch G and M
            size = value[:-1] if value[-1:] in ("b", "B") else value
            yield f"{'--mem' if name == 'mem' else '--tmp'}={size}"
        elif name in _SIMPLE:
            yield _SIMPLE[name] + value
        elif name == "accelerator" and value.lower().startswith("true"):
            gpus = max(gpus, 1)
        elif name == "naccelerators":
            gpus = number(_digits(value) or "0")
    if {"select", "ncpus", "mpiprocs"} <= set(values):
        cpus, tasks = number(_digits(values["ncpus"]) or "0"), number(_digits(values["mpiprocs"]) or "0")
        if cpus > tasks > 0:
            yield f"--cpus-per-task={cpus // tasks}"
    if gpus:
        yield f"--gres=gpu:{gpus}"


def _nodes(text: str) -> Iterator[str]:
    count = per_node = 0
    hosts: list[str] = []
    for kind, value in _NODES.parse(text):
        if kind == "COUNT":
            count += number(_digits(value))
        elif kind == "PPN":
            per_node += number(_digits(value) or "0")
        elif kind == "GPUS":
            yield f"--gpus-per-node={value}"
        elif value[0].isalpha():
            hosts.append(value)
    if count:
        yield f"--nodes={count}"
    if per_node:
        yield f"--ntasks={per_node * max(count, 1)}"
    if hosts:
        yield f"--nodelist={hostlist.compress(hosts)}"


def _digits(text: str) -> str:
    """Leading digits of a text, as strtol reads a number."""
    return text[: len(text) - len(text.lstrip("0123456789"))]
