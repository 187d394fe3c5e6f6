-- What an answer is that was looked at: 'good', 'refused', 'truncated', 'schema-invalid' or
-- 'wrong-language'; and the characters of its text.
ALTER TABLE events ADD COLUMN quality TEXT;
ALTER TABLE events ADD COLUMN answer_chars BIGINT;

-- Of the attempts, those whose answer was looked at, and those in which something was wrong.
ALTER TABLE event_rollups ADD COLUMN answers BIGINT NOT NULL DEFAULT 0;
ALTER TABLE event_rollups ADD COLUMN flawed BIGINT NOT NULL DEFAULT 0;
