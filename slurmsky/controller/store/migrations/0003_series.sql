-- The usage series of steps, in a separate table: sacct reads all steps of a period and never needs the series.
CREATE TABLE series (
    job_id   INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    step_id  TEXT NOT NULL,
    series   TEXT NOT NULL,     -- JSON: Usage.series
    PRIMARY KEY (job_id, restarts, step_id)
) WITHOUT ROWID;
