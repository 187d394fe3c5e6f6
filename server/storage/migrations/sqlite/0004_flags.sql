-- The kill switch and the live share. Shares are decimal text, as the settings have them.
CREATE TABLE live_flags (
    name TEXT NOT NULL PRIMARY KEY,
    -- Counts the changes.
    version BIGINT NOT NULL,
    share TEXT NOT NULL,
    killed BOOLEAN NOT NULL,
    -- The share of the settings that was last taken over.
    configured TEXT NOT NULL
);

CREATE TABLE flag_audit (
    name TEXT NOT NULL REFERENCES live_flags (name),
    version BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    position_before TEXT NOT NULL,
    position_after TEXT NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TRIGGER flag_audit_is_not_changed BEFORE UPDATE ON flag_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is only added to');
END;

CREATE TRIGGER flag_audit_is_not_deleted BEFORE DELETE ON flag_audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is only added to');
END;
