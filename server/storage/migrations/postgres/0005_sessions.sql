-- Sessions of a user that were issued before this time have ended.
ALTER TABLE users ADD COLUMN sessions_from BIGINT NOT NULL DEFAULT 0;

-- Sessions that were ended one by one, until their last token has run out.
CREATE TABLE ended_sessions (
    -- A hash, from which no token can be made.
    id TEXT NOT NULL PRIMARY KEY,
    until_ms BIGINT NOT NULL
);

CREATE INDEX ended_sessions_by_time ON ended_sessions (until_ms);

-- One-time links to sign in by.
CREATE TABLE login_links (
    -- Of the secret that the link carries.
    hash TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    made_ms BIGINT NOT NULL,
    -- Set once it was used.
    used_ms BIGINT
);
