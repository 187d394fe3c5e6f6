-- What each process took of limits that hold for all of them. Not logged: a crash of the server loses what was taken in the last
-- minutes, and nothing else.
CREATE UNLOGGED TABLE takings (
    -- The kind of limit, a colon, and whose it is.
    name TEXT NOT NULL,
    -- The process, as the lease names it.
    holder TEXT NOT NULL,
    -- When it began to count, by its clock; another begins anew.
    since_ms BIGINT NOT NULL,
    total BIGINT NOT NULL,
    -- By the clock of the database.
    at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (name, holder)
);
CREATE INDEX takings_by_time ON takings (at);
