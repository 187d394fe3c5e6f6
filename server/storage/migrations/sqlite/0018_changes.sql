-- A name as it is looked for. SQLite's LOWER knows the letters of ASCII; names with others follow as their
-- users call.
ALTER TABLE users ADD COLUMN folded_name TEXT;
UPDATE users SET folded_name = LOWER(name);

-- What people changed that has no history of its own: users, sessions, keys, settings. Lines are only added.
CREATE TABLE changes (
    id TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    -- users, sessions, keys or settings.
    subject TEXT NOT NULL,
    -- The user's number, the name of the key or of the setting.
    subject_id TEXT NOT NULL,
    -- user:7, settings, command-line.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    -- JSON; null at a beginning, and where it is not kept.
    state_before TEXT,
    state_after TEXT
);
CREATE INDEX changes_by_time ON changes (at_ms);
