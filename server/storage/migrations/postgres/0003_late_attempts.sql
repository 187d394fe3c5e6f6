-- Attempts that are slow are told while they are open, and ratings are events; outcome may also be
-- 'open', 'rated-good' or 'rated-bad'.
ALTER TABLE ai_events ADD COLUMN was_open BOOLEAN NOT NULL DEFAULT FALSE;
