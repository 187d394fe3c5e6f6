-- Calls that were answered with an error, whoever's fault it was; failures are among them. A table of its own: a column
-- would break what programs of before have prepared.
CREATE TABLE move_refusals (
    procedure TEXT NOT NULL PRIMARY KEY REFERENCES move_reports (procedure) ON DELETE CASCADE,
    ours BIGINT NOT NULL,
    theirs BIGINT NOT NULL
);
-- What the bets about a move have come to, by process: so that a restart goes on with them.
CREATE TABLE move_bets (
    -- That of the move.
    move_id TEXT NOT NULL,
    -- 0, 1, 2 and so on: each began with half of what the one before it began with.
    place BIGINT NOT NULL,
    -- The start of a process that bets with it.
    holder TEXT NOT NULL,
    -- Until when that is sure to be there; afterwards another may take what is left.
    until_ms BIGINT NOT NULL,
    -- JSON; empty where another has taken it.
    bets TEXT NOT NULL,
    PRIMARY KEY (move_id, place)
);
-- Of what an import took over, a hash as it was taken: to tell what was changed since, here or there.
ALTER TABLE imported ADD COLUMN taken TEXT NOT NULL DEFAULT '';
