-- Who answers procedures that an old server has as well: by name or `namespace.*`.
CREATE TABLE moves (
    name TEXT PRIMARY KEY,
    -- Another with each change.
    id TEXT NOT NULL,
    -- legacy, shadow, share or native.
    mode TEXT NOT NULL,
    -- The percentage of users that are answered here.
    share TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL
);
-- What was seen of a procedure since it was moved last; sums of all processes.
CREATE TABLE move_reports (
    procedure TEXT PRIMARY KEY,
    compared BIGINT NOT NULL,
    differed BIGINT NOT NULL,
    incomparable BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    ours BIGINT NOT NULL,
    ours_failed BIGINT NOT NULL,
    ours_us BIGINT NOT NULL,
    theirs BIGINT NOT NULL,
    theirs_failed BIGINT NOT NULL,
    theirs_us BIGINT NOT NULL,
    -- JSON, masked.
    examples TEXT NOT NULL
);
