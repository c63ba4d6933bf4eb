-- More to choose runs by: what sacct looks for in those that are over is found without their records.
ALTER TABLE facts ADD COLUMN started INTEGER NOT NULL DEFAULT 0;   -- 1: it ever got nodes
ALTER TABLE facts ADD COLUMN limit_min INTEGER;
ALTER TABLE facts ADD COLUMN by_main INTEGER NOT NULL DEFAULT 0;   -- 1: started by the main scheduler
ALTER TABLE facts ADD COLUMN node_list TEXT NOT NULL DEFAULT '';   -- names with commas
ALTER TABLE facts ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE facts ADD COLUMN features TEXT NOT NULL DEFAULT '';    -- names with commas
-- What is said of runs that are over (pages.py), column by column. A page goes with the first commit of a job on it.
DROP TABLE pages;
CREATE TABLE pages (
    number INTEGER NOT NULL,          -- the ids that it is of
    words  BLOB NOT NULL,             -- digest of what its cells depend on: the kind of rows, the program, the cluster
    packed BLOB NOT NULL
);
CREATE UNIQUE INDEX pages_by_key ON pages (number, words);
