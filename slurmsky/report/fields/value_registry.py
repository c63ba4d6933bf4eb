"""Registry of a record's printed values.

A row of ``data/*_fields.csv`` names a value once, and for each command the field and the form in which it prints the
value. A value is an attribute of the record or a function that computes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Callable, Generic, NamedTuple, TypeVar

from ..report_context import ReportContext
from .field_tables import table

Record = TypeVar("Record")


class FieldRow(NamedTuple):
    """Field of one command: name, value, and form."""

    name: str
    value: str
    form: str
    own: bool  # the value differs between records of one class


@cache
def _fields(name: str, command: str) -> tuple[FieldRow, ...]:
    return tuple(_rows(name, command))


def _rows(registry: str, command: str) -> Iterator[FieldRow]:
    for row in table(registry):
        for field in row[command].split():
            name, _, form = field.rpartition(":")
            yield FieldRow(name, row["value"], form, row.get("scope") == "own")


class Registry(Generic[Record]):
    """The values of one kind of record."""

    def __init__(
        self,
        name: str,
        of_record: Mapping[str, Callable[[Record], Any]],
        in_context: Mapping[str, Callable[[Record, ReportContext], Any]],
    ) -> None:
        self._name, self._of_record, self._in_context = name, of_record, in_context

    def fields_of(self, command: str) -> tuple[FieldRow, ...]:
        """Fields of a command's column in the table, in row order. Columns are "squeue", "json", "scontrol", ..."""
        return _fields(self._name, command)

    def reader(self, value: str, context: ReportContext) -> Callable[[Record], Any]:
        """The function that reads a value from a record.

        Attributes are read without a Python call, because reports read them for thousands of records.
        """
        if value.startswith("="):
            constant = json.loads(value[1:])
            return lambda record: constant
        name, _, key = value.partition(".")
        if key and name in self._of_record:
            group = self._of_record[name]
            return lambda record: group(record).get(key)
        if name in self._of_record:
            return self._of_record[name]
        if name in self._in_context:
            computed = self._in_context[name]
            return lambda record: computed(record, context)
        return attrgetter(*value.split("+"))
