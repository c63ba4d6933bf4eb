"""Moves unreadable records out of the tables. All other records stay usable."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

log = logging.getLogger("slurmsky.controller")

#: bytes that are not UTF-8 become surrogates, which no record contains, instead of failing the query
TEXT = partial(str, encoding="utf-8", errors="surrogateescape")
#: errors that decoding a record with unexpected content raises
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, IndexError)
#: records per call of the JSON decoder
_BATCH = 500

#: the record and key columns of each table; ``facts`` has a row for each job
_TABLES = {
    "jobs": ("record", "job_id=? AND restarts=?"),
    "steps": ("record", "job_id=? AND restarts=? AND step_id=?"),
    "specs": ("spec", "spec_id=?"),
    "meta": ("value", "name=?"),
}

Row = tuple[Any, ...]
Parsed = TypeVar("Parsed")


class DamagedRecord(NamedTuple):
    """A record in the table ``damaged``."""

    source: str
    key: str
    problem: str


class Damage:
    """Moves unreadable records into the table ``damaged``."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def move_to_damaged(self, table: str, key: Row, error: Exception) -> None:
        """Move a record to the table ``damaged``."""
        column, where = _TABLES[table]
        problem = f"{type(error).__name__}: {error}"[:200].encode("ascii", "backslashreplace").decode()
        named = ".".join(map(str, key))
        log.error("the database has a damaged record, which is set aside: %s %s: %s", table, named, problem)
        copy = f"INSERT INTO damaged SELECT ?,?,?,CAST({column} AS BLOB) FROM {table} WHERE {where}"
        self._db.execute(copy, (table, named.encode("ascii", "backslashreplace").decode(), problem, *key))
        self._db.execute(f"DELETE FROM {table} WHERE {where}", key)
        if table == "jobs":
            self._db.execute(f"DELETE FROM facts WHERE {where}", key)

    def found(self) -> list[DamagedRecord]:
        """All records in the table ``damaged``."""
        return [DamagedRecord(*row) for row in self._db.execute("SELECT source, key, problem FROM damaged")]

    def decoded(self, table: str, rows: list[Row], key: Callable[[Row], Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Decode the last column of rows from JSON.

        Decoding some hundred records as one text takes two thirds of the time, and stores their keys in memory once.
        """
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            try:
                yield from zip(part, json.loads("[%s]" % _plain(",".join([row[-1] for row in part]))), strict=True)
            except UNREADABLE:
                yield from self._one_by_one(table, part, key)

    def _one_by_one(
        self, table: str, rows: list[Row], key: Callable[[Row], Row]
    ) -> Iterator[tuple[Row, dict[str, Any]]]:
        for row in rows:
            try:
                record = json.loads(_plain(row[-1]))
                if not isinstance(record, dict):
                    raise TypeError(f"a {type(record).__name__} and no record")
            except UNREADABLE as error:
                self.move_to_damaged(table, key(row), error)
            else:
                yield row, record

    def parse_note(self, name: str, parse: Callable[[Any], Parsed]) -> Parsed | None:
        """Parse a note's JSON; None: the note is missing or unreadable."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        if row is None:
            return None
        try:
            return parse(json.loads(_plain(row[0])))
        except UNREADABLE as error:
            self.move_to_damaged("meta", (name,), error)
            return None


def _plain(text: str) -> str:
    """Return the text; raise if its bytes are not UTF-8. Raises ValueError or TypeError."""
    if not text.isascii():
        text.encode()
    return text
