-- What our accounts at providers have used of their quotas.
CREATE TABLE quotas (
    -- Its name in the catalog.
    provider TEXT NOT NULL PRIMARY KEY,
    -- The day, its requests, and when those of the last minute were made; JSON.
    used TEXT NOT NULL
);
