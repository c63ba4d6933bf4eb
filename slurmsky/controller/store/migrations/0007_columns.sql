-- More index columns, so that sacct selects ended runs without decoding their records.
ALTER TABLE facts ADD COLUMN started INTEGER NOT NULL DEFAULT 0;   -- 1: it got nodes
ALTER TABLE facts ADD COLUMN limit_min INTEGER;
ALTER TABLE facts ADD COLUMN by_main INTEGER NOT NULL DEFAULT 0;   -- 1: started by the main scheduler
ALTER TABLE facts ADD COLUMN node_list TEXT NOT NULL DEFAULT '';   -- names with commas
ALTER TABLE facts ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE facts ADD COLUMN features TEXT NOT NULL DEFAULT '';    -- names with commas
-- Rendered cells of ended runs (accounting_cache.py), by column. The first commit of a job of a page deletes the page.
DROP TABLE pages;
CREATE TABLE pages (
    number INTEGER NOT NULL,          -- the ids that it is of
    words  BLOB NOT NULL,             -- digest of what its cells depend on: the kind of rows, the program, the cluster
    packed BLOB NOT NULL
);
CREATE UNIQUE INDEX pages_by_key ON pages (number, words);
