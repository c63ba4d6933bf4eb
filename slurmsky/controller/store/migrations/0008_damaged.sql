-- Records that could not be read, moved here with the reason, so that the others can be.
CREATE TABLE damaged (
    source  TEXT NOT NULL,            -- the table that it comes from
    key     TEXT NOT NULL,            -- its key there
    problem TEXT NOT NULL,
    record  BLOB NOT NULL
);
