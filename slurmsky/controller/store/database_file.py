"""Database file of the queue: SQLite in WAL mode, numbered migrations.

A commit survives the death of any process (synchronous=NORMAL: the last commits may be lost only when the machine
itself loses power). Only the controller that holds the lock file opens the database.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from . import accounting_index, salvage
from .damage import TEXT, UNREADABLE, Damage
from .id_reserve import IdReserve


class StoreError(Exception):
    """The database cannot be opened or written. The text names the file and the cause."""


log = logging.getLogger("slurmsky.controller")

#: errors of reading and writing; the text of the first lacks the file's name
DATABASE_ERRORS = (sqlite3.Error, StoreError)
#: first id of foreign managed jobs (services.managed_jobs)
_FOREIGN_IDS = 60_000_000
#: the value in the first migration
_FIRST_PRIORITY = 4294901760


class DatabaseFile:
    """Opens, migrates, repairs and commits the file. It has counters and notes."""

    def __init__(self, path: Path, ids: IdReserve | None = None) -> None:
        self.path = path
        self._ids = ids or IdReserve(path)
        if path.exists() and not path.stat().st_size and any(path.with_name("jobs").glob("[0-9]*")):
            # SQLite would create a new database, which would assign the same job ids again.
            raise StoreError(f"{path}: the database is empty, but there are jobs in {path.with_name('jobs')}")
        fresh = not path.exists()
        try:
            try:
                self._begin(fresh)
            except sqlite3.DatabaseError as error:
                if not salvage.is_damage(error):
                    raise
                self._recreate(str(error))
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error

    def _begin(self, fresh: bool) -> None:
        self._open()
        self._check()
        self._migrate()
        self._fill_derived()
        self._continue_ids(fresh)

    def _recreate(self, problem: str) -> None:
        """Replace a damaged database by a new one with all readable rows. Raises StoreError."""
        self._db.close()
        try:
            damaged = salvage.move_away(self.path)
        except OSError as error:
            raise StoreError(f"{self.path}: the damaged database cannot be moved: {error.strerror}") from error
        self._open()
        self._migrate()
        count = salvage.copy(damaged, self._db)
        log.error("%s is damaged (%s): it is kept as %s; %d rows were read", self.path, problem, damaged.name, count)
        salvage.record(self._db, damaged, problem)
        self._fill_derived()
        self._continue_ids(fresh=True)

    def _open(self) -> None:
        if self.path.is_symlink():
            raise StoreError(f"the database {self.path} is a link: SLURMSKY_HOME names the folder of the state")
        self._connect(str(self.path))
        self.path.chmod(0o600)
        self._inode = self.path.stat().st_ino

    def _connect(self, where: str) -> None:
        self._db = sqlite3.connect(where, isolation_level=None)
        self._db.text_factory = TEXT
        self.damage = Damage(self._db)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA cache_size=-4000")
        for name, function in accounting_index.FUNCTIONS.items():
            self._db.create_function(name, 2, function, deterministic=True)

    def _keep_file(self) -> None:
        """Rewrite the database if its file was removed. Raises StoreError.

        The open database still has all committed records; the next controller would not find them.
        """
        try:
            if self.path.stat().st_ino == self._inode:
                return
        except FileNotFoundError:
            fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            try:
                self._db.execute("VACUUM INTO ?", (str(fresh),))
                self._db.close()
                for suffix in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
                fresh.rename(self.path)
            finally:
                self._open()
            log.error("%s was removed and is rewritten", self.path)
            return
        raise StoreError(f"{self.path}: another file took the database's place: slurmsky stop")

    def _continue_ids(self, fresh: bool) -> None:
        """Continue with unused ids, even if the old database is lost."""
        stored = self.counter("next_job_id")
        known = int(self.read_note("id_bound") or 0)
        first = self._ids.first_of_new() if fresh else self._ids.first(stored, known)
        if first != stored:
            log.warning("%s does not know of all jobs: ids continue with %d", self.path, first)
            self._db.execute("UPDATE meta SET value=? WHERE name='next_job_id'", (str(first),))

    def _check(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict.splitlines()[0])

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        scripts = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
        if version > len(scripts):
            raise StoreError(f"{self.path}: written by a newer version (schema {version})")
        for number, script in enumerate(scripts, 1):
            if number > version:
                text = script.read_text("utf-8")
                self._db.executescript(f"BEGIN;\n{text}\nPRAGMA user_version={number};\nCOMMIT;")

    def _fill_derived(self) -> None:
        """Compute missing tables that derive from others."""

    def close(self) -> None:
        """Checkpoint the write-ahead log and close the database."""
        self._db.close()

    # --- counters

    @property
    def empty(self) -> bool:
        """True if the database has no job."""
        return self._db.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is None

    def counter(self, name: str) -> int:
        """Return the stored value of a counter."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        try:
            return int(row[0])
        except UNREADABLE:
            # The counter is damaged, or was moved to ``damaged``: two jobs must not get the same id.
            (last,) = self._db.execute("SELECT max(job_id) FROM jobs WHERE job_id<?", (_FOREIGN_IDS,)).fetchone()
            value = max(int(last or 0) + 1, self._ids.bound) if name == "next_job_id" else _FIRST_PRIORITY
            self.put_note(name, str(value))
            return value

    def read_note(self, name: str) -> str | None:
        """Return the text stored under a name by ``put_note``, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_note(self, name: str, text: str) -> None:
        """Store a small text under a name. Raises StoreError."""
        try:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (name, text))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: {error}") from error

    def execute(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run a query."""
        return self._db.execute(query, values)

    def commit(self, *parts: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        """Commit statements, each with its rows. Raises StoreError."""
        if not any(rows for _, rows in parts):
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, rows in parts:
                self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreError(f"{self.path}: {error}") from error
