-- What sreport sums up, by whom it is of and with all that it asks, and what a run that is over used in all of its life.
ALTER TABLE facts ADD COLUMN born REAL NOT NULL DEFAULT 0;    -- the first moment of its life
ALTER TABLE facts ADD COLUMN spent REAL NOT NULL DEFAULT 0;   -- seconds that it was held for, once it is over
ALTER TABLE facts ADD COLUMN waited REAL NOT NULL DEFAULT 0;  -- seconds that it waited for resources, once it is over
CREATE INDEX facts_by_owner ON facts (
    account, user, qos, wckey, cpus, submit, born, eligible, start, finish, suspended, spent, waited, nodes, memory_mib,
    state, superseded, partition
);
