-- Events are numbered in the order of recording; that number is the row's own, so it costs no index.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    user_id BIGINT,
    -- A hash of 64 bits.
    subject BIGINT,
    -- No reference: events of a rollout and the rollout itself are written together.
    rollout TEXT,
    -- Whether evidence counts it.
    counted BOOLEAN NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    position BIGINT NOT NULL,
    latency_ms DOUBLE PRECISION NOT NULL CHECK (latency_ms < 1e300),
    first_token_ms DOUBLE PRECISION CHECK (first_token_ms < 1e300),
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_microdollars BIGINT NOT NULL,
    -- 'success', 'cancelled', or the kind of the fault.
    outcome TEXT NOT NULL
);

INSERT INTO events
SELECT NULL, at_ms, request_id, user_id, NULL, NULL, FALSE, model, task, variant, position, latency_ms,
       first_token_ms, prompt_tokens, completion_tokens, cost_microdollars, outcome
FROM ai_events WHERE latency_ms < 1e300 ORDER BY at_ms, id;

DROP TABLE ai_events;
ALTER TABLE events RENAME TO ai_events;
CREATE INDEX ai_events_by_time ON ai_events (at_ms);

-- All events by hour, kept when the events themselves are gone.
CREATE TABLE event_rollups (
    hour_ms BIGINT NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    latency_ns BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_microdollars BIGINT NOT NULL,
    -- Sparse counts, as server/ai_metrics/histogram.rs writes them.
    latency BLOB NOT NULL,
    first_token BLOB NOT NULL,
    PRIMARY KEY (hour_ms, model, task, variant, outcome)
) WITHOUT ROWID;

-- How far the upkeep of the events has come.
CREATE TABLE upkeep (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    plan TEXT NOT NULL,
    status TEXT NOT NULL,
    version BIGINT NOT NULL,
    evidence TEXT NOT NULL,
    event_cursor BIGINT NOT NULL,
    is_live BOOLEAN NOT NULL,
    ended_ms BIGINT,
    -- Whether its events were left to go.
    events_released BOOLEAN NOT NULL
);

CREATE TABLE rollout_audit (
    id TEXT NOT NULL PRIMARY KEY,
    rollout_id TEXT NOT NULL REFERENCES rollouts (id),
    version BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    state_before TEXT NOT NULL,
    state_after TEXT NOT NULL,
    evidence TEXT NOT NULL,
    UNIQUE (rollout_id, version)
);

CREATE TRIGGER rollout_audit_is_not_changed BEFORE UPDATE ON rollout_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is only added to');
END;

CREATE TRIGGER rollout_audit_is_not_deleted BEFORE DELETE ON rollout_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is only added to');
END;

CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    rollout_id TEXT,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    details TEXT NOT NULL
);

CREATE INDEX alerts_by_time ON alerts (at_ms, id);

-- A row appears with the first try.
CREATE TABLE alert_deliveries (
    alert_id TEXT NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_ms BIGINT NOT NULL,
    delivered_ms BIGINT,
    last_error TEXT,
    PRIMARY KEY (alert_id, channel)
);

-- Who may write; the fence grows with each holder.
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

-- What wrote an answer.
ALTER TABLE messages ADD COLUMN request_id TEXT;
ALTER TABLE messages ADD COLUMN model TEXT;
ALTER TABLE messages ADD COLUMN task TEXT;
ALTER TABLE messages ADD COLUMN variant TEXT;
ALTER TABLE messages ADD COLUMN rollout TEXT;
ALTER TABLE messages ADD COLUMN subject BIGINT;

CREATE TABLE message_ratings (
    message_id BIGINT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id),
    verdict TEXT NOT NULL CHECK (verdict IN ('good', 'bad')),
    rated_ms BIGINT NOT NULL,
    PRIMARY KEY (message_id, user_id)
);
