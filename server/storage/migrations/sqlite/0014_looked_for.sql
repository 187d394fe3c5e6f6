-- What the dashboard looks for: a request by its id, and the newest attempts of a user, of a rollout, and
-- of each way to end. For all else the index by time is read, which holds what is asked of attempts, so
-- that those that do not fit cost no look at their rows.
DROP INDEX events_by_time;
CREATE INDEX events_by_time ON events
    (at_ms, request_id, outcome, variant, counted, latency_ms, model, task);
CREATE INDEX events_by_request ON events (request_id);
CREATE INDEX events_by_user ON events (user_id, at_ms);
CREATE INDEX events_by_rollout ON events (rollout, at_ms);
CREATE INDEX events_by_outcome ON events (outcome, at_ms);
CREATE INDEX rollout_audit_by_time ON rollout_audit (at_ms);
CREATE INDEX flag_audit_by_time ON flag_audit (at_ms);
