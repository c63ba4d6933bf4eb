-- The accounting index: columns of each run, beside its record, by which queries select, sort and sum
-- (accounting_index.py; the store fills the table for jobs that are older than it).
CREATE TABLE facts (
    job_id     INTEGER NOT NULL,
    restarts   INTEGER NOT NULL,
    superseded INTEGER NOT NULL,
    array_id   INTEGER NOT NULL,
    task       INTEGER,               -- of an array's element
    state      INTEGER NOT NULL,
    uid        INTEGER NOT NULL,
    gid        INTEGER NOT NULL,
    user       TEXT NOT NULL,         -- texts that are not UTF-8 are blobs
    account    TEXT NOT NULL,
    partition  TEXT NOT NULL,
    qos        TEXT NOT NULL,
    wckey      TEXT NOT NULL,
    name       TEXT NOT NULL,
    submit     REAL NOT NULL,
    eligible   REAL NOT NULL,
    start      REAL NOT NULL,
    finish     REAL NOT NULL,         -- 0 while the run is not over
    suspended  REAL NOT NULL,         -- seconds
    cpus       INTEGER NOT NULL,
    nodes      INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    managed    INTEGER NOT NULL,      -- 1: SkyPilot ran it
    cost       REAL NOT NULL,         -- dollars
    PRIMARY KEY (job_id, restarts)
) WITHOUT ROWID;
CREATE INDEX facts_by_finish ON facts (finish);
DROP INDEX jobs_by_finish;
