-- Processes on this database, as they say of themselves.
CREATE TABLE replicas (
    -- The process, as the lease names it.
    holder TEXT PRIMARY KEY,
    -- Its machine and port.
    name TEXT NOT NULL,
    release TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- Its last word. Times are those of the database.
    seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- Set where it was stopped.
    ended_at TIMESTAMPTZ,
    -- JSON: what waits there, what was lost there, and what it has in force.
    report TEXT NOT NULL
);
