-- Keys of applications, for the gateway.
CREATE TABLE api_keys (
    -- The part of a key that finds it.
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- Of the whole key, from which none can be made.
    hash TEXT NOT NULL,
    -- A JSON list of what may be asked for; NULL is everything.
    models TEXT,
    created_ms BIGINT NOT NULL,
    -- NULL: never.
    expires_ms BIGINT,
    -- Set once it was revoked.
    revoked_ms BIGINT,
    -- The key that this one replaced, and until when that still holds.
    previous_id TEXT UNIQUE,
    previous_hash TEXT,
    previous_until_ms BIGINT
);
