"""Parses squeue's and sinfo's output to table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .controller_client import CommandOutput, ControllerClient

# Names of jobs may contain any character: separate records and fields by control characters, with the name last.
_RECORD, _FIELD = "\x1e", "\x1f"
_JOB_FORMAT = _RECORD + _FIELD.join(("%i", "%A", "%P", "%u", "%t", "%T", "%M", "%D", "%R", "%j"))
_NODE_FIELDS = ("NodeList", "Partition", "StateLong", "CPUsState", "Memory", "AllocMem", "CPUsLoad", "Gres", "GresUsed",
                "Reason")  # fmt: skip


_INDICES = re.compile(r"(\d+)(?:-(\d+))?(?::(\d+))?")


class JobLine(NamedTuple):
    """A line of squeue."""

    id: str  # as shown: 12, 12_3, 12_[4-9%2], 12+1
    number: int  # the job id of the record
    partition: str
    user: str
    state: str  # two letters
    state_name: str
    time: str
    nodes: str
    where: str  # the nodes, or the reason in parentheses
    name: str

    @property
    def key(self) -> str:
        """Identity of a line while an array's pending rest shrinks."""
        return self.name_for_commands if not self.is_rest else f"{self.number}[]"

    @property
    def is_rest(self) -> bool:
        """Return whether this is the line of an array's pending elements."""
        return "[" in self.id

    @property
    def waiting(self) -> int:
        """Number of pending elements on this line.

        It is a lower bound if squeue has truncated their list.

        >>> JobLine("7_[1,5-9,20-30:5%2]", 7, "p", "u", "PD", "PENDING", "0:00", "1", "", "").waiting
        9
        """
        if not self.is_rest:
            return 1
        count = 0
        for part in self.id.partition("[")[2].partition("]")[0].partition("%")[0].split(","):
            found = _INDICES.fullmatch(part)
            if found:
                first = int(found[1])
                count += (int(found[2] or first) - first) // int(found[3] or 1) + 1
        return max(1, count)

    @property
    def name_for_commands(self) -> str:
        return str(self.number) if self.is_rest else self.id


class NodeLine(NamedTuple):
    """A node with all its partitions."""

    name: str
    partitions: str
    state: str
    cpus_used: int
    cpus: int
    memory_mib: int
    memory_used_mib: int
    load: str
    gpus_used: int
    gpus: int
    gpu_type: str
    reason: str

    @property
    def key(self) -> str:
        return self.name


def ask_jobs(controller: ControllerClient, ended: bool) -> CommandOutput:
    """Output of squeue. With ``ended`` it has jobs that ended within MinJobAge, too."""
    return controller.run_command("squeue", "-h", *(["-t", "all"] if ended else []), "-o", _JOB_FORMAT)


def ask_nodes(controller: ControllerClient) -> CommandOutput:
    """Output of sinfo, a line per node and partition."""
    fields = ",".join(f"{name}:0{_FIELD}" for name in _NODE_FIELDS)
    return controller.run_command("sinfo", "-N", "-h", "-O", fields)


def jobs(text: str) -> list[JobLine]:
    """Parse squeue's output, in its order."""
    found = []
    for record in text.removesuffix("\n").split("\n" + _RECORD):
        fields = record.removeprefix(_RECORD).split(_FIELD, 9)
        if len(fields) == 10 and fields[1].isdecimal():
            found.append(JobLine(fields[0], int(fields[1]), *fields[2:]))
    return found


def nodes(text: str) -> list[NodeLine]:
    """Parse sinfo's output into one record per node."""
    found: dict[str, NodeLine] = {}
    for line in text.split("\n"):  # not splitlines: a reason may contain other line separators
        fields = line.split(_FIELD)
        if len(fields) <= len(_NODE_FIELDS) or fields[3].count("/") != 3:
            continue
        name, partition, state, cpus, memory, allocated, load, gres, used, reason = fields[:-1]
        before = found.get(name)
        if before is not None:
            found[name] = before._replace(partitions=f"{before.partitions},{partition}")
            continue
        counts = cpus.split("/")
        found[name] = NodeLine(
            name, partition, state, _number(counts[0]), _number(counts[3]), _number(memory), _number(allocated), load,
            _gpus(used), _gpus(gres), _gpu_type(gres), "" if reason == "none" else reason,
        )  # fmt: skip
    return list(found.values())


_GPU = re.compile(r"gpu(?::([^:,(]*[^\d:,(][^:,(]*))?(?::(\d+))?(?:\(|,|$)")


def _gpu_entries(gres: str) -> Iterator[tuple[str, int]]:
    for found in _GPU.finditer(gres):
        yield found[1] or "", int(found[2] or 1)


def _gpus(gres: str) -> int:
    """The number of GPUs in a GRES text.

    >>> _gpus("gpu:h100:4"), _gpus("gpu:h100:2(IDX:0-1)"), _gpus("gpu:2,license:3"), _gpus("(null)")
    (4, 2, 2, 0)
    """
    return sum(count for _, count in _gpu_entries(gres))


def _gpu_type(gres: str) -> str:
    return "/".join(sorted({name for name, _ in _gpu_entries(gres) if name}))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


# --- order


def seconds(text: str) -> int:
    """Convert a time of squeue to seconds.

    Forms: M:SS, H:MM:SS, D-HH:MM:SS; -1 for any other text.

    >>> seconds("0:07"), seconds("1-02:00:00"), seconds("INVALID")
    (7, 93600, -1)
    """
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in parts) or (dash and not days.isdecimal()):
        return -1
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total + 86400 * int(days or 0)


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key that orders n2 before n10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part]


# --- filter


def matches(words: Sequence[str], fields: Sequence[object]) -> bool:
    """Return whether each word occurs in a field, ignoring case."""
    text = _FIELD.join(map(str, fields)).casefold()
    return all(word in text for word in words)
