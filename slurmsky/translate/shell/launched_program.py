"""Finds the program that a command starts. It follows wrappers such as srun, mpirun and env, and containers."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ...options.getopt import split
from ...options.table import OptionTable, load
from .shell_elements import Command, Word
from .word_sets import words

_PREFIXES = words(
    """
    env time nohup exec command nice ionice numactl taskset stdbuf setsid builtin catchsegv chrt unbuffer strace
    ltrace xvfb-run sudo doas sg singularity_wrapper apptainer_wrapper
    """
)
_LAUNCHERS = words(
    """
    mpirun mpiexec mpiexec.hydra orterun prterun prun mpiexec_mpt mpirun_rsh ibrun aprun jsrun lrun flux
    """
)
_CONTAINERS = words(
    """
    singularity apptainer shifter docker nvidia-docker podman podman-hpc charliecloud
    """
)
#: options of wrappers and launchers whose value is the next word
_VALUED = re.compile(
    r"-(?:n|np|N|c|H|hosts?|f|machinefile|hostfile|x|mca|env|genv|ppn|perhost|map-by|bind-to|rank-by|m|M|C|u|g|k|s|"
    r"S|L|npernode|cpunodebind|membind|-map-by|-bind-to|-rank-by|-hostfile|-host|-np|-n|-npernode|-mca|-cpunodebind"
    r"|-membind|-physcpubind|-interleave|-oversubscribe|-report-bindings-to|-prefix|-wdir|-x)"
)
_TWO_VALUES = frozenset(("-mca", "--mca", "-genv", "-env"))


@dataclass(frozen=True)
class Launched:
    """A program with its arguments.

    ``inside``: the container that it runs in, "" for the node itself. ``mounts`` are the words for the node's folders
    that a container mounts; ``image`` is the container's file or its name in a registry.
    """

    name: str
    words: tuple[Word, ...]
    inside: str = ""
    mounts: tuple[Word, ...] = ()
    image: Word | None = None
    verb: str = ""  # of a container program: exec, run

    @property
    def arguments(self) -> tuple[Word, ...]:
        return self.words[1:]


@cache
def _srun() -> OptionTable:
    return load("srun")


def launched(command: Command, containers: Container[str] = ()) -> Launched:
    """Find the program that a command starts, without its wrappers.

    ``containers``: variables with srun's container options.
    """
    words = command.words
    inside = ""
    mounts: tuple[Word, ...] = ()
    image: Word | None = None
    for _ in range(12):
        if not words:
            break
        name = (words[0].text or "").rpartition("/")[2]
        if name == "srun":
            found = split(_srun(), [word.text_or_source for word in words[1:]])
            options = words[1 : len(words) - len(found.rest)]
            given = {entry.option.name for entry in found.found}
            holders = {part.name for word in words[1:] for part in word.variables if part.name in containers}
            if given & {"container-image", "container-name"} or holders:
                inside = "srun"
                mounts = (*mounts, *_option_values(options, ("--container-mounts",)))
            if not found.rest:
                return Launched("srun", words[:1], inside, mounts, image)
            words = words[len(words) - len(found.rest) :]
        elif name in _CONTAINERS:
            return _container(name, words, mounts)
        elif name in _LAUNCHERS or name in _PREFIXES or name == "timeout":
            rest = _after_options(words, name)
            if not rest:
                return Launched(name, words, inside, mounts, image)
            words = rest
        else:
            break
    return Launched(words[0].program if words else "", words, inside, mounts, image)


def own_words(command: Command) -> tuple[Word, ...]:
    """Words of a launcher without those of the started program."""
    program = launched(command).words[:1]
    return tuple(word for word in command.words if not program or word.start < program[0].start) or command.words


def in_containers(commands: Sequence[Command], containers: Container[str] = ()) -> list[tuple[int, int]]:
    """Positions of commands in containers. Commands in their words (bash -c) count, too."""
    return [(one.start, one.end) for one in commands if launched(one, containers).inside]


def _after_options(words: tuple[Word, ...], name: str) -> tuple[Word, ...]:
    """Words after a wrapper's options, assignments and numbers."""
    at = 1
    while at < len(words):
        raw = words[at].text_or_source
        if raw.startswith("-") and raw != "-":
            valued = raw in ("-e", "-o", "-p") if name == "strace" else _VALUED.fullmatch(raw) and name != "time"
            at += 3 if raw in _TWO_VALUES else 2 if valued else 1
        elif _is_setting(name, at, raw):
            at += 1
        else:
            break
    return words[at:]


def _is_setting(name: str, at: int, raw: str) -> bool:
    """Return whether a word is the wrapper's. Examples: variable of env, time of timeout, count of aprun."""
    if name in ("env", "sudo", "command"):
        return bool(re.match(r"[A-Za-z_]\w*=", raw))
    if name == "timeout":
        return at < 3 and bool(re.fullmatch(r"[\d.]+[smhd]?|\$\S+", raw))
    return raw in ("run", "submit") if name == "flux" else name == "aprun" and raw.isdecimal()


def _option_values(words: tuple[Word, ...], names: tuple[str, ...]) -> tuple[Word, ...]:
    """Values of options: ``--name=value`` or the next word."""
    found = []
    for index, word in enumerate(words):
        option, sign, _ = word.raw.partition("=")
        if option in names and sign:
            found.append(Word(word.raw[len(option) + 1 :], word.start + len(option) + 1, word.line))
        elif word.raw in names and index + 1 < len(words):
            found.append(words[index + 1])
    return tuple(found)


_BINDS = ("-B", "--bind", "-v", "--volume", "--mount", "-V", "--overlay")
_VALUE = re.compile(
    r"-(?:[BvVwepuHW]|-bind|-volume|-mount|-overlay|-pwd|-workdir|-env|-env-file|-user|-name|-network|-ipc|-ulimit|-gpus"
    r"|-shm-size|-device|-image|-home|-entrypoint|-hostname|-cpus|-memory|-m|-runtime|-security-opt|-cap-add|-module)"
)


def _container(name: str, words: tuple[Word, ...], mounts: tuple[Word, ...]) -> Launched:
    """Parse the command line of a container program.

    ``singularity exec [options] IMAGE COMMAND``, ``docker run [options] IMAGE COMMAND``, ``shifter``.
    """
    rest = words[1:]
    verb = "exec"
    if name != "shifter":
        while rest and rest[0].raw.startswith("-"):
            rest = rest[1:]
        verb, rest = (rest[0].text or "", rest[1:]) if rest else ("", ())
    if verb not in ("exec", "run", "shell", "test", "instance"):
        return Launched(name, words, "", mounts)
    at = 0
    while at < len(rest) and rest[at].raw.startswith("-"):
        at += 2 if _VALUE.fullmatch(rest[at].raw) else 1
    options = rest[:at]
    mounts = (*mounts, *_option_values(options, _BINDS))
    if name == "shifter":
        return Launched(name, rest[at:] or words[:1], "shifter", mounts)
    image = rest[at] if at < len(rest) else None
    return Launched(name, (words[0], *rest[at + 1 :]), name, mounts, image, verb)


#: in SRC:DST, DST is a path in the container and not on the node
_BOUND_TO = re.compile(r"(?:-[Bv]|--bind|--volume|--container-mounts)[= ]+[\"']?((?:\\.|[^\s\"'])+)")


def bind_targets(source: str) -> Iterator[str]:
    """Folders in containers that mounts cover."""
    for bound in _BOUND_TO.findall(source):
        for entry in bound.split(","):
            folder, _, target = entry.partition(":")
            target = target.partition(":")[0].rstrip("/")
            if target.startswith("/") and target != folder:
                yield target
