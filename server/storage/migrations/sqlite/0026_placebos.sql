-- What placebo rollouts found: how often a plan takes back what is no worse, on the traffic of this server. A plan may
-- demand one.
CREATE TABLE placebos (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    plan TEXT NOT NULL,
    -- JSON, as server/rollout/simulate/placebo.rs writes it.
    result TEXT NOT NULL
);
CREATE INDEX placebos_by_plan ON placebos (plan, at_ms);
