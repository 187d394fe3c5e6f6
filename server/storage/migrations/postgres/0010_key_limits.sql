-- How much a key may have, as JSON; NULL is everything.
ALTER TABLE api_keys ADD COLUMN limits TEXT;

-- What a key has spent on a day of UTC, and what servers have set aside for its calls.
CREATE TABLE key_spending (
    -- The key's name, which stays when its secret is replaced.
    key TEXT NOT NULL,
    -- Such as 2026-11-29.
    day TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    cost_microdollars BIGINT NOT NULL,
    PRIMARY KEY (day, key)
);
