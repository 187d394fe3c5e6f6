-- What the dashboard looks for: a request by its id, and the newest attempts of each fault. All else is
-- found by the index by time: an index for each filter would cost more room than the attempts. One of
-- users costs more here than on SQLite, and a year of attempts has to stay small.
CREATE INDEX events_by_request ON events USING hash (request_id);
CREATE INDEX events_by_fault ON events (outcome, at_ms) WHERE outcome <> 'success';
CREATE INDEX rollout_audit_by_time ON rollout_audit (at_ms);
CREATE INDEX flag_audit_by_time ON flag_audit (at_ms);
