-- What trials found, before anybody got the candidate. A plan may demand one.
CREATE TABLE trials (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    task TEXT NOT NULL,
    control TEXT NOT NULL,
    candidate TEXT NOT NULL,
    -- JSON, as server/rollout/trials.rs writes it.
    result TEXT NOT NULL
);
CREATE INDEX trials_by_models ON trials (task, control, candidate, at_ms);
