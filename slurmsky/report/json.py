"""--json and --yaml: whole answers, in the layout of Slurm 25.11's data parser v0.0.44.

    about = meta("squeue", ["--json"], "oracle")
    text = dump(jobs_document(jobs, about, now, cluster))
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Callable

from slurmsky.model.cluster import ClusterConfig, PartitionConfig
from slurmsky.model.job import Job, Node, Step
from slurmsky.model.reservation import Reservation

from .accounting import accounting_order
from .columns import items_of_names
from .context import Context
from .json_accounting import accounting_record
from .json_nodes import node_record, partition_record, sinfo_record
from .json_records import (
    Constant,
    JobRecords,
    Number,
    Record,
    stamp,
)
from .json_rest import license_record, ping_records, reservation_record, step_record
from .nodes import Options, node_rows, sort_nodes
from .text import Clock

# sinfo --json makes a record of the nodes of a partition that are alike in these.
SINFO_FIELDS = "partition,available,time,nodes,statecompact,nodelist,gresused"


def meta(command: str, arguments: Sequence[str], cluster: str, user: str = "", group: str = "",
         version: str = "25.11.0") -> Record:
    """The part of an answer that says who asked and who answers."""
    major, minor, micro = [*version.split("."), "0", "0"][:3]
    return {
        "plugin": {"type": "", "name": "", "data_parser": "data_parser/v0.0.44", "accounting_storage": ""},
        "client": {"source": "", "user": user, "group": group},
        "command": [command, *arguments],
        "slurm": {"version": {"major": major, "micro": micro, "minor": minor}, "release": version,
                  "cluster": cluster},
    }


def answer(name: str, records: Iterable[Record], about: Record, **more: Any) -> Record:
    """A whole answer: the records under ``name``, further values, and what always stands at the end.

    ``records`` may be a generator: ten thousand jobs are then written one by one and never held together.
    """
    return {name: records, **more, "meta": about, "errors": [], "warnings": []}


def _context(now: float, cluster: ClusterConfig) -> Context:
    return Context(Clock(now), cluster)


def jobs_document(jobs: Iterable[Job], about: Record, now: float, cluster: ClusterConfig) -> Record:
    """Answer of squeue --json and scontrol show job --json."""
    return answer("jobs", map(JobRecords(_context(now, cluster)), jobs), about,
                  last_backfill=stamp(now), last_update=stamp(now))


def nodes_document(nodes: Iterable[Node], about: Record, now: float, cluster: ClusterConfig) -> Record:
    """Answer of scontrol show node --json."""
    context = _context(now, cluster)
    return answer("nodes", (node_record(node, context) for node in nodes), about, last_update=stamp(now))


def partitions_document(partitions: Iterable[PartitionConfig], about: Record, now: float,
                        cluster: ClusterConfig) -> Record:
    """Answer of scontrol show partition --json."""
    context = _context(now, cluster)
    records = (partition_record(part, context) for part in partitions)
    return answer("partitions", records, about, last_update=stamp(now))


def reservations_document(known: Iterable[Reservation], about: Record, now: float, cluster: ClusterConfig) -> Record:
    """Answer of scontrol show reservation --json."""
    context = _context(now, cluster)
    return answer("reservations", (reservation_record(one, context) for one in known), about,
                  last_update=stamp(now))


def steps_document(steps: Iterable[tuple[Job, Step]], about: Record, now: float, cluster: ClusterConfig) -> Record:
    """Answer of scontrol show step --json."""
    context = _context(now, cluster)
    return answer("steps", (step_record(job, step, context) for job, step in steps), about, last_update=stamp(now))


def licenses_document(known: Iterable[tuple[str, int, int]], about: Record, now: float) -> Record:
    """Answer of scontrol show license --json, of (name, total, used)."""
    return answer("licenses", (license_record(*one) for one in known), about, last_update=stamp(now))


def ping_document(host: str, about: Record) -> Record:
    """Answer of scontrol ping --json."""
    return answer("pings", ping_records(host), about)


def managed_document(name: str, records: Any, about: Record) -> Record:
    """Answer of sdiag, sshare and sacctmgr show --json: records, or one, under their name."""
    return answer(name, records, about)


def sinfo_document(nodes: Iterable[Node], partitions: Sequence[PartitionConfig], about: Record,
                   now: float) -> Record:
    """Answer of sinfo --json."""
    known = list(nodes)
    context = _context(now, ClusterConfig(nodes=tuple(node.config for node in known)))
    rows = sort_nodes(node_rows(known, partitions, items_of_names(SINFO_FIELDS), Options()))
    return answer("sinfo", (sinfo_record(row, context) for row in rows), about)


def accounting_document(jobs: Iterable[Job], about: Record, now: float, cluster: ClusterConfig) -> Record:
    """Answer of sacct --json."""
    context = _context(now, cluster)
    return answer("jobs", (accounting_record(job, context) for job in accounting_order(jobs)), about)


def dump(document: Mapping[str, Any], yaml: bool = False) -> Iterator[str]:
    """A document as text, in pieces: that of ten thousand jobs is fifty megabytes."""
    return yaml_pieces(document) if yaml else json_pieces(document)


def json_text(answer: Mapping[str, Any]) -> str:
    """An answer as JSON."""
    return "".join(json_pieces(answer))


def json_pieces(answer: Mapping[str, Any]) -> Iterator[str]:
    """An answer as JSON: a record a line, since indenting ten thousand jobs would take seconds."""
    start = "{\n"
    for key, value in answer.items():
        head = "%s  %s: " % (start, json.dumps(key))
        start = ",\n"
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            records = map(_Alike(_json_entry, "{", ", ", "}", _encode), value)
            first = next(records, None)
            if first is None:
                yield head + "[]"
                continue
            yield head + "[\n    " + first
            yield from _several(",\n    " + record for record in records)
            yield "\n  ]"
        else:
            yield head + json.dumps(value, indent=2).replace("\n", "\n  ")
    yield "\n}\n"


def _several(pieces: Iterator[str]) -> Iterator[str]:
    """The same text in larger pieces."""
    while several := "".join(islice(pieces, 50)):
        yield several


class _Alike:
    """Writes records that are much alike: a value that is that of the record before is not written anew."""

    def __init__(self, entry: Callable[[str, Any], str], start: str, between: str, end: str,
                 other: Callable[[Any], str]) -> None:
        self._entry, self._other = entry, other
        self._start, self._between, self._end = start, between, end
        self._keys: list[str] = []
        self._values: list[Any] = []
        self._texts: list[str] = []

    def __call__(self, record: Any) -> str:
        if not isinstance(record, dict) or not record:
            return self._other(record)
        keys, values, entry = list(record), list(record.values()), self._entry
        if keys == self._keys:
            # 1 and True are equal and are not written alike.
            self._texts = [
                text if value is old or (value == old and type(value) is type(old)) else entry(key, value)
                for key, value, old, text in zip(keys, values, self._values, self._texts)]
        else:
            self._keys = keys
            self._texts = [entry(key, value) for key, value in record.items()]
        self._values = values
        return self._start + self._between.join(self._texts) + self._end


_encode = json.JSONEncoder(check_circular=False).encode
_quote = json.encoder.encode_basestring_ascii
# Values of one of these types are written without the encoder's overhead: nearly all of a job's.
_QUICK: dict[type, Callable[[Any], str]] = {
    str: _quote,
    int: str,
    bool: lambda value: "true" if value else "false",
    # what is not Constant is set and not endless
    Number: lambda value: '{"set": true, "infinite": false, "number": %s}' % value["number"],
    Constant: lambda value: value.text,
    list: lambda value: _encode(value) if value else "[]",
}


def _json_entry(key: str, value: Any) -> str:
    return '"%s": %s' % (key, _QUICK.get(type(value), _encode)(value))


def yaml_text(answer: Mapping[str, Any]) -> str:
    """An answer as YAML 1.1, in block form."""
    return "".join(yaml_pieces(answer))


def yaml_pieces(answer: Mapping[str, Any]) -> Iterator[str]:
    """An answer as YAML 1.1, in block form."""
    yield "%YAML 1.1\n---\n"
    for key, value in answer.items():
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping, list)):
            records = map(_Alike(_yaml_entry, "  - ", "    ", "", _yaml_item), value)
            first = next(records, None)
            yield "%s: []\n" % key if first is None else "%s:\n%s" % (key, first)
            yield from _several(records)
        else:
            yield "\n".join(_entry("%s:" % key, value, "  ")) + "\n"
    yield "...\n"


def _yaml_entry(key: str, value: Any) -> str:
    return "\n".join(_entry("%s:" % key, value, "      ")) + "\n"


def _yaml_item(value: Any) -> str:
    return "\n".join(_yaml([value], "  ")) + "\n"


def _yaml(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            lines += _entry("%s%s:" % (indent, key), item, indent + "  ")
    else:
        for item in value:
            inner = _yaml(item, indent + "  ") if item and isinstance(item, (Mapping, list)) else []
            if inner:
                lines += [indent + "- " + inner[0][len(indent) + 2:], *inner[1:]]
            else:
                lines.append(indent + "- " + _scalar(item))
    return lines


def _entry(head: str, item: Any, indent: str) -> list[str]:
    if isinstance(item, Iterable) and not isinstance(item, (str, Mapping)):
        item = list(item)
    if item and isinstance(item, (Mapping, list)):
        return [head, *_yaml(item, indent)]
    return ["%s %s" % (head, _scalar(item))]


def _scalar(value: Any) -> str:
    # JSON's scalars, [] and {} are YAML's too; every text is quoted, so that none is taken for a number.
    return json.dumps(value)
