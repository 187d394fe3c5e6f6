-- What the dashboard looks for: a request by its id, and the newest attempts of a user and of each fault.
-- All else is found by the index by time: an index for each filter would cost more room than the attempts.
CREATE INDEX events_by_request ON events USING hash (request_id);
CREATE INDEX events_by_user ON events (user_id);
CREATE INDEX events_by_fault ON events (outcome, at_ms) WHERE outcome <> 'success';
CREATE INDEX rollout_audit_by_time ON rollout_audit (at_ms);
CREATE INDEX flag_audit_by_time ON flag_audit (at_ms);
