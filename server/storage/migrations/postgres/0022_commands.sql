-- Changes that processes hand over to the one that leads. A row is taken, done and answered once; times are
-- those of the database.
CREATE TABLE commands (
    id TEXT PRIMARY KEY,
    procedure TEXT NOT NULL,
    -- JSON.
    input TEXT NOT NULL,
    -- Who asks, and the role by which it is allowed.
    user_id BIGINT NOT NULL,
    role TEXT NOT NULL,
    -- Whether it takes the candidate from users, and so waits for as long as it takes.
    lowers BOOLEAN NOT NULL,
    asked_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- The process that does it, as the lease names it.
    taken_by TEXT,
    -- JSON.
    answer TEXT
);
CREATE INDEX commands_open ON commands (asked_at) WHERE answer IS NULL;
