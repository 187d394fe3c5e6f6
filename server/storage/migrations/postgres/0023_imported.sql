-- What was taken over from the TypeScript server, by its number there, so that it is taken over once.
CREATE TABLE imported (
    -- users, conversations or messages.
    kind TEXT NOT NULL,
    theirs BIGINT NOT NULL,
    ours BIGINT NOT NULL,
    PRIMARY KEY (kind, theirs)
);
