-- SkyPilot's managed jobs as of the last read: ours, and those launched without sbatch.
CREATE TABLE managed (
    server         TEXT NOT NULL,     -- endpoint and user
    managed_job_id INTEGER NOT NULL,
    job_id         INTEGER NOT NULL,  -- under which squeue shows it; 0: ours, see its name
    name           TEXT NOT NULL,
    status         TEXT NOT NULL,     -- SkyPilot's
    over           REAL NOT NULL,     -- end time, 0 while it is not over
    clusters       TEXT NOT NULL,     -- JSON list: what the cost report calls its clusters
    cost           REAL NOT NULL,     -- dollars so far
    hourly         REAL NOT NULL,     -- dollars an hour while it runs
    settled        INTEGER NOT NULL,  -- 1: the cost is final
    PRIMARY KEY (server, managed_job_id)
) WITHOUT ROWID;
CREATE INDEX managed_open ON managed (server, settled) WHERE settled = 0;
CREATE UNIQUE INDEX managed_by_job ON managed (job_id) WHERE job_id > 0;

ALTER TABLE jobs ADD COLUMN cost REAL NOT NULL DEFAULT 0;  -- dollars
CREATE INDEX jobs_by_cost ON jobs (finish) WHERE cost > 0;
