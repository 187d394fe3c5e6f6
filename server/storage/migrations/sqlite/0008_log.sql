-- The log in batches: each process that writes numbers its own, and whoever leads gives them their place.

-- A row for each start of a process that led.
CREATE TABLE writers (
    writer INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The process, as the lease names it.
    holder TEXT NOT NULL UNIQUE,
    release TEXT NOT NULL,
    started_ms BIGINT NOT NULL,
    -- Set once it writes no more.
    ended_ms BIGINT,
    -- Its batches up to this one are stored.
    last_batch BIGINT NOT NULL
);

CREATE TABLE events (
    writer BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    -- In the batch, from 0.
    place BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    user_id BIGINT,
    -- A hash of 64 bits.
    subject BIGINT,
    -- No reference: events of a rollout and the rollout itself are written together.
    rollout TEXT,
    -- Whether evidence counts it.
    counted BOOLEAN NOT NULL,
    was_open BOOLEAN NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    position BIGINT NOT NULL,
    latency_ms DOUBLE PRECISION NOT NULL CHECK (latency_ms < 1e300),
    first_token_ms DOUBLE PRECISION CHECK (first_token_ms < 1e300),
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_microdollars BIGINT NOT NULL,
    -- 'success', 'cancelled', 'open', 'rated-good', 'rated-bad', or the kind of the fault.
    outcome TEXT NOT NULL,
    PRIMARY KEY (writer, batch, place)
) WITHOUT ROWID;

-- The places of the batches. The number of an event in the log is first_seq + place. A batch has at most
-- 500 places, and one without an event is none in the log.
CREATE TABLE event_order (
    first_seq INTEGER PRIMARY KEY,
    writer BIGINT NOT NULL,
    batch BIGINT NOT NULL,
    events BIGINT NOT NULL,
    -- Of the process that gave the place.
    fence BIGINT NOT NULL,
    UNIQUE (writer, batch)
);

-- The number of the last event of the log.
ALTER TABLE leases ADD COLUMN head_seq BIGINT NOT NULL DEFAULT 0;

-- Events of before keep their numbers, in batches of 500 numbers of a writer 0.
INSERT INTO writers (writer, holder, release, started_ms, ended_ms, last_batch)
SELECT 0, 'before batches', 'before batches', 0, 0, COALESCE((MAX(seq) - 1) / 500 + 1, 0) FROM ai_events;

INSERT INTO leases (name, holder, fence, expires_ms, head_seq)
SELECT 'rollouts', '', 0, 0, COALESCE(MAX(seq), 0) FROM ai_events WHERE TRUE
ON CONFLICT (name) DO UPDATE SET head_seq = excluded.head_seq;

INSERT INTO event_order (first_seq, writer, batch, events, fence)
SELECT (seq - 1) / 500 * 500 + 1, 0, (seq - 1) / 500 + 1, MAX((seq - 1) % 500) + 1, 0
FROM ai_events GROUP BY (seq - 1) / 500;

INSERT INTO events
SELECT 0, (seq - 1) / 500 + 1, (seq - 1) % 500, at_ms, request_id, user_id, subject, rollout, counted,
       was_open, model, task, variant, position, latency_ms, first_token_ms, prompt_tokens,
       completion_tokens, cost_microdollars, outcome
FROM ai_events ORDER BY seq;

DROP TABLE ai_events;
CREATE INDEX events_by_time ON events (at_ms);
