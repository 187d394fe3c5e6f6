-- What a model found out about a user's e-mails; the newest of each kind of a thread.
CREATE TABLE email_insights (
    user_id BIGINT NOT NULL REFERENCES users (id),
    -- The front end's.
    thread_id TEXT NOT NULL,
    -- 'category' or 'priority'.
    kind TEXT NOT NULL,
    -- JSON, as server/email_intelligence/store.rs has it.
    insight TEXT NOT NULL,
    found_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, thread_id, kind)
);

CREATE INDEX email_insights_of_user ON email_insights (user_id, kind, found_ms);
CREATE INDEX email_insights_by_time ON email_insights (found_ms);

-- Replies that a model wrote, for a user to choose from.
CREATE TABLE email_suggestions (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    thread_id TEXT NOT NULL,
    -- JSON, as server/email_intelligence/answers.rs has it.
    suggestion TEXT NOT NULL,
    made_ms BIGINT NOT NULL,
    -- Set once it was taken.
    used_ms BIGINT
);

CREATE INDEX email_suggestions_by_thread ON email_suggestions (user_id, thread_id, id);
CREATE INDEX email_suggestions_by_time ON email_suggestions (made_ms);
