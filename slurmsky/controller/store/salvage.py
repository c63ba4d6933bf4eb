"""Moves a damaged database aside, and reads its intact rows.

SQLite refuses every query that reads a damaged page. Each table is read in the order of its key from both ends up to
the damage, so that only the rows on damaged pages are lost.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from .damage import TEXT

log = logging.getLogger("slurmsky.controller")

#: tables and the order of their keys; the accounting index and the cache are recomputed
_TABLES = {
    "meta": "rowid",
    "specs": "spec_id",
    "jobs": "job_id {0}, restarts",
    "steps": "job_id {0}, restarts {0}, step_id",
    "series": "job_id {0}, restarts {0}, step_id",
    "managed": "server {0}, managed_job_id",
    "damaged": "rowid",
}


def is_damage(error: sqlite3.Error) -> bool:
    """True if an error means that the file's content is damaged. A full disk or a lock is an OperationalError."""
    return type(error) is sqlite3.DatabaseError


def move_away(path: Path) -> Path:
    """Rename a database and its write-ahead log; return the new path. Raises OSError."""
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    return target


def copy(source: Path, target: sqlite3.Connection) -> int:
    """Copy the readable rows of ``source``; return their number."""
    old = sqlite3.connect(source, isolation_level=None)
    old.text_factory = TEXT
    copied = 0
    target.execute("BEGIN IMMEDIATE")
    for table, order in _TABLES.items():
        seen: set[object] = set()
        for direction in ("ASC", "DESC"):
            if not _copy_rows(old, target, table, f"{order.format(direction)} {direction}", seen):
                break  # the whole table was read
        copied += len(seen)
    target.execute("DELETE FROM meta WHERE name='facts'")
    target.execute("COMMIT")
    old.close()
    return copied


def _copy_rows(old: sqlite3.Connection, target: sqlite3.Connection, table: str, order: str, seen: set[object]) -> bool:
    """Copy a table's rows in this order; True if damage ended the copy."""
    try:
        rows = old.execute(f"SELECT * FROM {table} ORDER BY {order}")
        names = [column[0] for column in rows.description]
        statement = f"INSERT OR REPLACE INTO {table} ({','.join(names)}) VALUES ({','.join('?' * len(names))})"
        for row in rows:
            if row in seen:
                continue
            seen.add(row)
            try:
                target.execute(statement, row)
            except (sqlite3.Error, UnicodeError) as error:
                log.error("a row of %s cannot be copied: %s", table, error)
    except sqlite3.Error as error:
        log.error("table %s of the damaged database: %s", table, error)
        return True
    return False


def record(database: sqlite3.Connection, source: Path, problem: str) -> None:
    """Record the file as damaged, for ``slurmsky doctor``."""
    database.execute("INSERT INTO damaged VALUES ('database',?,?,X'')", (source.name, problem[:200]))
