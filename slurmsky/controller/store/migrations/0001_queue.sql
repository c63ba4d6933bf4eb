-- One row per run of a job: a requeued job leaves its earlier runs behind (sacct -D).
CREATE TABLE jobs (
    job_id     INTEGER NOT NULL,
    restarts   INTEGER NOT NULL,
    array_id   INTEGER NOT NULL,      -- base job id of the array, 0 when none
    state      INTEGER NOT NULL,      -- JobState value
    superseded INTEGER NOT NULL,      -- 1: an earlier run of a requeued job
    user       TEXT NOT NULL,
    submit     REAL NOT NULL,
    start      REAL NOT NULL,
    finish     REAL NOT NULL,         -- end time, 0 while the job is not over
    spec_id    INTEGER NOT NULL REFERENCES specs (spec_id),
    record     TEXT NOT NULL,         -- the Job as JSON, without spec and steps
    PRIMARY KEY (job_id, restarts)
) WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs (state, finish);
CREATE INDEX jobs_by_finish ON jobs (finish);
CREATE INDEX jobs_by_array ON jobs (array_id) WHERE array_id > 0;

-- Specs are shared: the elements of an array have one.
CREATE TABLE specs (
    spec_id INTEGER PRIMARY KEY,
    digest  TEXT NOT NULL UNIQUE,
    spec    TEXT NOT NULL
);

CREATE TABLE steps (
    job_id   INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    step_id  TEXT NOT NULL,
    record   TEXT NOT NULL,
    PRIMARY KEY (job_id, restarts, step_id)
) WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta VALUES ('next_job_id', '1'), ('next_priority', '4294901760');
