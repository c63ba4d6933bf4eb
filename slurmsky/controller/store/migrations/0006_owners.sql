-- Index columns for sreport: owners, and the resources that an ended run used in total.
ALTER TABLE facts ADD COLUMN born REAL NOT NULL DEFAULT 0;    -- its earliest time: submit, eligible or start
ALTER TABLE facts ADD COLUMN spent REAL NOT NULL DEFAULT 0;   -- seconds that it held resources, once it has ended
ALTER TABLE facts ADD COLUMN waited REAL NOT NULL DEFAULT 0;  -- seconds that it waited for resources, once it has ended
CREATE INDEX facts_by_owner ON facts (
    account, user, qos, wckey, cpus, submit, born, eligible, start, finish, suspended, spent, waited, nodes, memory_mib,
    state, superseded, partition
);
