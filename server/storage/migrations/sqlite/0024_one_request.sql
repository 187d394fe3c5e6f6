-- What is known of how an attempt ended beside its outcome: the HTTP status of a refusal, what went wrong, and
-- why the model stopped writing, where it is not that it had said everything (1 its limit, 2 a tool, 3 a filter,
-- 4 another). Most events have none of these, and stay as small as they were.
ALTER TABLE events ADD COLUMN status SMALLINT;
ALTER TABLE events ADD COLUMN cause TEXT;
ALTER TABLE events ADD COLUMN finish SMALLINT;

-- What was asked and answered, of the tasks in TEXT_TASKS, as it left this server and came back.
CREATE TABLE request_texts (
    request_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    user_id BIGINT,
    task TEXT NOT NULL,
    -- A JSON list of {role, text}, the oldest first.
    prompt TEXT NOT NULL,
    -- Null where no answer came.
    answer TEXT,
    -- Whether something did not fit.
    is_cut BOOLEAN NOT NULL,
    -- Values that placeholders stand for.
    masked BIGINT NOT NULL
);
CREATE INDEX request_texts_by_request ON request_texts (request_id);
CREATE INDEX request_texts_by_time ON request_texts (at_ms);
CREATE INDEX request_texts_by_user ON request_texts (user_id);

-- Who made or ended a key is kept from now on; of those before, that it was done.
INSERT INTO changes (id, at_ms, subject, subject_id, actor, action)
SELECT id || '/created', created_ms, 'keys', name, '', 'created' FROM api_keys;
INSERT INTO changes (id, at_ms, subject, subject_id, actor, action)
SELECT id || '/revoked', revoked_ms, 'keys', name, '', 'revoked' FROM api_keys WHERE revoked_ms IS NOT NULL;
