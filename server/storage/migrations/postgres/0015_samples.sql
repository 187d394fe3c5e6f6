-- How the evidence of rollouts went, for charts; nothing is decided by it.
CREATE TABLE rollout_samples (
    rollout_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    -- JSON, as server/rollout/samples.rs writes it.
    figures TEXT NOT NULL,
    PRIMARY KEY (rollout_id, at_ms)
);
