-- Times are milliseconds since 1970. Ids that the front end sees are numbers and are never used twice.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    open_id TEXT NOT NULL UNIQUE,
    name TEXT,
    email TEXT,
    login_method TEXT,
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    last_signed_in BIGINT NOT NULL,
    -- Set for deleted users, who stay so that their sessions are refused rather than made anew.
    deleted_at BIGINT
);

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id BIGINT NOT NULL REFERENCES users (id),
    title TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX conversations_by_user ON conversations (user_id, updated_at);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id BIGINT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'system')),
    content TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX messages_by_conversation ON messages (conversation_id, id);

CREATE TABLE ai_events (
    id TEXT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    request_id TEXT NOT NULL,
    user_id BIGINT,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    variant TEXT NOT NULL,
    position BIGINT NOT NULL,
    latency_ms DOUBLE PRECISION NOT NULL,
    first_token_ms DOUBLE PRECISION,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    cost_microdollars BIGINT NOT NULL,
    -- 'success', 'cancelled', or the kind of the fault.
    outcome TEXT NOT NULL
);

CREATE INDEX ai_events_by_time ON ai_events (at_ms, id);
