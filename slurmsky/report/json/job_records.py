"""Job records of --json and --yaml.

The data parser v0.0.44 of Slurm 25.11 defines the layout. Keys and nesting follow
plugins/data_parser/v0.0.44/parsers.c, where ``/`` in a path means a nested object. A number that may be
unset or infinite is ``{"set": ..., "infinite": ..., "number": ...}``.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, Callable, Optional

from slurmsky.language.signalspec import name_of
from slurmsky.model.job import Job
from slurmsky.model.spec import INFINITE

from ..fields import tres_texts
from ..fields.job_values import fields_of, reader
from ..report_context import ReportContext

Record = dict[str, Any]


class Number(dict[str, Any]):
    """JSON object of a number that is set and finite."""


class Constant(Number):
    """Object shared by many records; its text is encoded once."""

    text = ""


def _constant(**items: Any) -> Constant:
    shared = Constant(items)
    shared.text = json.dumps(items)
    return shared


UNSET = _constant(set=False, infinite=False, number=0)
ENDLESS = _constant(set=False, infinite=True, number=0)
ZERO = _constant(set=True, infinite=False, number=0)
UNSET_REAL = _constant(set=False, infinite=False, number=0.0)
ENDLESS_REAL = _constant(set=False, infinite=True, number=0.0)
SUCCESS = _constant(status=["SUCCESS"], return_code=ZERO, signal={"id": UNSET, "name": ""})


def number(value: Optional[float]) -> Number:
    """A number that may be unset (None) or INFINITE."""
    if value is None:
        return UNSET
    if value == 0:
        return ZERO
    return ENDLESS if value == INFINITE else Number(set=True, infinite=False, number=value)


def float_number(value: Optional[float]) -> Number:
    """A floating-point number that may be unset."""
    return UNSET_REAL if value is None else Number(set=True, infinite=False, number=float(value))


def stamp(time: Optional[float]) -> Number:
    """A time in epoch seconds; 0 stays 0."""
    return Number(set=True, infinite=False, number=int(time)) if time else ZERO


def exit_code(code: int, signal: int, waiting: bool = False) -> Record:
    """Exit code and signal of a process."""
    if waiting:
        return {"status": ["PENDING"], "return_code": ZERO, "signal": {"id": UNSET, "name": ""}}
    if signal:
        return {"status": ["SIGNALED"], "return_code": UNSET, "signal": {"id": number(signal), "name": name_of(signal)}}
    if not code:
        return SUCCESS
    return {"status": ["ERROR"], "return_code": number(code), "signal": {"id": UNSET, "name": ""}}


_SHARED = {
    "NO": ["none"],
    "YES": ["oversubscribe"],
    "USER": ["user"],
    "MCS": ["mcs"],
    "TOPO": ["topo"],
    "OK": [],
}


def _raw(value: Any) -> Any:
    return value


#: forms of the registries of values (``data/job_fields.csv``, ``data/node_fields.csv``)
FORMS: dict[str, Callable[[Any], Any]] = {
    "count": lambda value: number(value or 0),
    "exit": lambda pair: exit_code(*pair),
    "indices": tres_texts.index_list,
    "number": number,
    "one": lambda value: number(value or 1),
    "raw": _raw,
    "real": float_number,
    "seconds": lambda minutes: number((minutes or 0) * 60),
    "shared": _SHARED.__getitem__,
    "stamp": stamp,
    "text": lambda value: value or "",
    # scontrol's text follows the recorded answers ("gres:gpu:1"); this layout has "gres/gpu:1", as Slurm since 23.11.
    "tres": lambda value: (value or "").replace("gres:", "gres/"),
    "whole": int,
    "words": lambda value: value.split(",") if value else [],
    "zero": lambda value: value or 0,
}


class JobRecords:
    """Builder of job records for squeue and scontrol show job.

    ``own`` has the values that differ between jobs of one record class: name, reader and form of each.
    """

    def __init__(self, context: ReportContext) -> None:
        fields, self._classes = fields_of("json"), context.record_classes
        self._fields = [(row.name, reader(row.value, context), FORMS[row.form]) for row in fields]
        self.own = [field for field, row in zip(self._fields, fields) if row.own]
        self._shared: dict[Hashable, Record] = {}

    def __call__(self, job: Job) -> Record:
        """Build a job's record, with keys in the parser's order."""
        kind = self._classes.of(job)
        shared = self._shared.get(kind)
        if shared is None:
            shared = self._shared[kind] = {name: form(read(job)) for name, read, form in self._fields}
        return {**shared, **{name: form(read(job)) for name, read, form in self.own}}
