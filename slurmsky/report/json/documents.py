"""Complete documents of --json and --yaml.

The data parser v0.0.44 of Slurm 25.11 defines the layout. about = meta("squeue", ["--json"], "oracle") text =
dump(jobs_document(jobs, about, now, cluster))
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Callable, Optional

from slurmsky.model.cluster import ClusterConfig, PartitionConfig
from slurmsky.model.job import Job, Node, Step
from slurmsky.model.release import MAJOR, MICRO, MINOR, RELEASE
from slurmsky.model.reservation import Reservation

from ..report_context import ReportContext
from ..text.columns import items_of_names
from ..text.sacct_rows import accounting_order
from ..text.sinfo_rows import Options, node_rows, sort_nodes
from ..text.units import Clock
from .accounting_records import accounting_record
from .data_parser import USUAL, OutputForm
from .job_records import Constant, JobRecords, Number, Record, stamp
from .node_records import node_records, partition_record, sinfo_record
from .other_records import license_record, ping_records, reservation_record, state_records, step_record

# sinfo --json groups nodes of a partition that are equal in these fields into one record.
SINFO_FIELDS = "partition,available,time,nodes,statecompact,nodelist,gresused"


def meta(
    command: str,
    arguments: Sequence[str],
    cluster: str,
    user: str = "",
    group: str = "",
    plugin: str = "data_parser/v0.0.44",
) -> Record:
    """The "meta" object: command, caller, Slurm version and cluster."""
    return {
        "plugin": {"type": "", "name": "", "data_parser": plugin, "accounting_storage": "accounting_storage/slurmdbd"},
        "client": {"source": "", "user": user, "group": group},
        "command": [command, *arguments],
        "slurm": {"version": {"major": MAJOR, "micro": MICRO, "minor": MINOR}, "release": RELEASE, "cluster": cluster},
    }


class Document(dict[str, Any]):
    """Complete document, whose first key holds the records.

    ``layout`` names the type of the records. ``written``: the same records, with cached records that are already
    encoded as JSON (Written).
    """

    layout = ""
    written: Optional[Iterable[Any]] = None


def records_document(layout: str, name: str, records: Iterable[Any], about: Record, **more: Any) -> Document:
    """Build a document: records, further values, standard last keys.

    ``records`` may be a generator, so that ten thousand jobs are encoded one by one and never held in memory at once.
    """
    made = Document({name: records, **more, "meta": about, "errors": [], "warnings": []})
    made.layout = layout
    return made


def _context(now: float, cluster: ClusterConfig) -> ReportContext:
    return ReportContext(Clock(now), cluster)


def jobs_document(jobs: Iterable[Job], about: Record, now: float, cluster: ClusterConfig) -> Document:
    """Document of squeue --json and scontrol show job --json."""
    jobs, context = list(jobs), _context(now, cluster)
    document = records_document(
        "job_info", "jobs", map(JobRecords(context), jobs), about, last_backfill=stamp(now), last_update=stamp(now)
    )
    document.written = map(_JobTexts(context), jobs)
    return document


class _JobTexts:
    """Encoder of jobs as JSON. The shared part of a record class is encoded once."""

    def __init__(self, context: ReportContext) -> None:
        self._records, self._classes = JobRecords(context), context.record_classes
        self._stamps = [(name, read) for name, read, form in self._records.own if form is stamp]
        self._others = [field for field in self._records.own if field[2] is not stamp]
        self._forms: dict[Hashable, str] = {}

    def __call__(self, job: Job) -> Written:
        own = {name: _STAMP % read(job) for name, read in self._stamps}
        for name, read, form in self._others:
            value = form(read(job))
            own[name] = _QUICK.get(type(value), _encode)(value)
        kind = self._classes.of(job)
        template = self._forms.get(kind)
        if template is None:
            entries = [f"{_quote(key)}: %({key})s" if key in own else _json_entry(key, value).replace("%", "%%")
                       for key, value in self._records(job).items()]  # fmt: skip
            template = self._forms[kind] = "{" + ", ".join(entries) + "}"
        return Written(template % own)


#: the text of ``stamp``
_STAMP = '{"set": true, "infinite": false, "number": %d}'


def nodes_document(nodes: Iterable[Node], about: Record, now: float, cluster: ClusterConfig) -> Document:
    """Document of scontrol show node --json."""
    context = _context(now, cluster)
    return records_document("node", "nodes", node_records(nodes, context), about, last_update=stamp(now))


def partitions_document(
    partitions: Iterable[PartitionConfig], about: Record, now: float, cluster: ClusterConfig
) -> Document:
    """Document of scontrol show partition --json."""
    context = _context(now, cluster)
    records = (partition_record(part, context) for part in partitions)
    return records_document("partition", "partitions", records, about, last_update=stamp(now))


def reservations_document(known: Iterable[Reservation], about: Record, now: float, cluster: ClusterConfig) -> Document:
    """Document of scontrol show reservation --json."""
    context = _context(now, cluster)
    return records_document(
        "reservation",
        "reservations",
        (reservation_record(one, context) for one in known),
        about,
        last_update=stamp(now),
    )


def steps_document(steps: Iterable[tuple[Job, Step]], about: Record, now: float, cluster: ClusterConfig) -> Document:
    """Document of scontrol show step --json."""
    context = _context(now, cluster)
    records = (step_record(job, step, context) for job, step in steps)
    return records_document("step_info", "steps", records, about, last_update=stamp(now))


def licenses_document(known: Iterable[tuple[str, int, int]], about: Record, now: float) -> Document:
    """Document of scontrol show license --json. ``known`` has tuples of name, total and used."""
    return records_document(
        "license", "licenses", (license_record(*one) for one in known), about, last_update=stamp(now)
    )


def ping_document(host: str, about: Record) -> Document:
    """Document of scontrol ping --json."""
    return records_document("ping", "pings", ping_records(host), about)


def states_document(jobs: Iterable[Job], about: Record) -> Document:
    """Document of squeue --only-job-state --json."""
    return records_document("job_state", "jobs", state_records(jobs), about)


#: layouts of the records that other modules build, by their key in the document
_LAYOUTS = {"users": "user", "associations": "association"}


def managed_document(name: str, records: Any, about: Record) -> Document:
    """Document of sdiag, sshare, sacctmgr show, scontrol listjobs --json. It has one record or several under a key."""
    return records_document(_LAYOUTS.get(name, name), name, records, about)


def sinfo_document(
    nodes: Iterable[Node], cluster: ClusterConfig, about: Record, now: float, by_node: bool = False
) -> Document:
    """Document of sinfo --json. ``by_node`` is -N."""
    context, options = _context(now, cluster), Options(by_node=by_node)
    found = node_rows(list(nodes), cluster.partitions, items_of_names(SINFO_FIELDS), options, context)
    rows = sort_nodes(found, context)
    return records_document("sinfo", "sinfo", (sinfo_record(row, context) for row in rows), about)


def accounting_document(jobs: Iterable[Job], about: Record, now: float, cluster: ClusterConfig) -> Document:
    """Document of sacct --json."""
    return records_document("accounting", "jobs", accounting_records(jobs, now, cluster), about)


def accounting_records(jobs: Iterable[Job], now: float, cluster: ClusterConfig) -> Iterator[Record]:
    """Records of jobs as sacct --json prints them."""
    context = _context(now, cluster)
    for job in accounting_order(jobs):
        yield accounting_record(job, context)


class Written(str):
    """A record that ``json_record`` has encoded."""


def json_record(record: Record) -> str:
    """Encode a record as in a default document."""
    return _SimilarRecords(_json_entry, "{", ", ", "}", _encode)(record)


def dump(document: Document, form: OutputForm = USUAL) -> Iterator[str]:
    """Encode a document in pieces. The document of ten thousand jobs has fifty megabytes."""
    first, *others = document.items()
    records = document.written if document.written is not None and form.is_default else first[1]
    if isinstance(records, Mapping):  # a single record instead of a list
        formed: Any = next(iter(form.records(document.layout, [records])))
    else:
        formed = form.records(document.layout, records)
    made = {first[0]: formed, **{key: form.convert_rest(value) for key, value in others}}
    if form.yaml:
        return yaml_pieces(made)
    return _styled(made, form.style) if form.style else json_pieces(made)


def _styled(answer: Mapping[str, Any], style: str) -> Iterator[str]:
    """Encode in the style of SLURM_JSON. The document is on one line, or each value has a line."""
    whole = {key: value if isinstance(value, (str, Mapping)) else list(value) for key, value in answer.items()}
    encoder = json.JSONEncoder(separators=(",", ":")) if style == "compact" else json.JSONEncoder(indent=2)
    yield from _joined(encoder.iterencode(whole), 2000)
    yield "\n"


def json_pieces(answer: Mapping[str, Any]) -> Iterator[str]:
    """Encode a document as JSON, one record per line. Indenting ten thousand jobs would take seconds."""
    start = "{\n"
    for key, value in answer.items():
        head = "%s  %s: " % (start, json.dumps(key))
        start = ",\n"
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
            records = map(_SimilarRecords(_json_entry, "{", ", ", "}", _encode), value)
            first = next(records, None)
            if first is None:
                yield head + "[]"
                continue
            yield head + "[\n    " + first
            yield from _joined(",\n    " + record for record in records)
            yield "\n  ]"
        else:
            yield head + json.dumps(value, indent=2).replace("\n", "\n  ")
    yield "\n}\n"


def _joined(pieces: Iterator[str], count: int = 50) -> Iterator[str]:
    """Join small pieces of text into larger pieces."""
    while several := "".join(islice(pieces, count)):
        yield several


class _SimilarRecords:
    """Encoder of similar records in sequence. A value equal to the previous record's reuses its text."""

    def __init__(
        self, entry: Callable[[str, Any], str], start: str, between: str, end: str, other: Callable[[Any], str]
    ) -> None:
        self._entry, self._other = entry, other
        self._start, self._between, self._end = start, between, end
        self._keys: list[str] = []
        self._values: list[Any] = []
        self._texts: list[str] = []

    def __call__(self, record: Any) -> str:
        if isinstance(record, Written):
            return record
        if not isinstance(record, dict) or not record:
            return self._other(record)
        keys, values, entry = list(record), list(record.values()), self._entry
        if keys == self._keys:
            # 1 and True are equal but have different JSON texts.
            self._texts = [
                text if value is old or (value == old and type(value) is type(old)) else entry(key, value)
                for key, value, old, text in zip(keys, values, self._values, self._texts)
            ]
        else:
            self._keys = keys
            self._texts = [entry(key, value) for key, value in record.items()]
        self._values = values
        return self._start + self._between.join(self._texts) + self._end


_encode = json.JSONEncoder(check_circular=False).encode
_quote = json.encoder.encode_basestring_ascii
# Fast encoders for the types of nearly all values of a job; they avoid the overhead of JSONEncoder.
_QUICK: dict[type, Callable[[Any], str]] = {
    str: _quote,
    int: str,
    bool: lambda value: "true" if value else "false",
    # a Constant represents a Number that is unset or infinite
    Number: lambda value: '{"set": true, "infinite": false, "number": %s}' % value["number"],
    Constant: lambda value: value.text,
    list: lambda value: _encode(value) if value else "[]",
}


def _json_entry(key: str, value: Any) -> str:
    return '"%s": %s' % (key, _QUICK.get(type(value), _encode)(value))


def yaml_pieces(answer: Mapping[str, Any]) -> Iterator[str]:
    """Encode a document as YAML 1.1 block text, in pieces."""
    yield "%YAML 1.1\n---\n"
    for key, value in answer.items():
        if isinstance(value, Iterable) and not isinstance(value, (str, Mapping, list)):
            records = map(_SimilarRecords(_yaml_entry, "  - ", "    ", "", _yaml_item), value)
            first = next(records, None)
            yield "%s: []\n" % key if first is None else "%s:\n%s" % (key, first)
            yield from _joined(records)
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
                lines += [indent + "- " + inner[0][len(indent) + 2 :], *inner[1:]]
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
    # JSON scalars, [] and {} are valid YAML; every string is quoted, so that none reads as a number.
    return json.dumps(value)
