-- Unreadable records, moved here with the error, so that all other records stay usable.
CREATE TABLE damaged (
    source  TEXT NOT NULL,            -- the table that it comes from
    key     TEXT NOT NULL,            -- its key there
    problem TEXT NOT NULL,
    record  BLOB NOT NULL
);
