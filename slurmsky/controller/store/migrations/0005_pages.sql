-- Rendered sacct cells of ended runs (accounting_cache.py). The first commit of a job of a page deletes the page.
CREATE TABLE pages (
    number INTEGER NOT NULL,          -- the ids that it is of
    words  BLOB NOT NULL,             -- digest of the query, the program and the cluster
    runs   BLOB NOT NULL,             -- digest of its runs
    latest REAL NOT NULL,             -- when the last of them could have run
    packed BLOB NOT NULL
);
CREATE UNIQUE INDEX pages_by_key ON pages (number, words, runs);
