-- Milliseconds until the first 100 characters of a streamed answer were there. Null where it was shorter, and of answers
-- of before, of which the first token, the end and the length tell it roughly.
ALTER TABLE events ADD COLUMN words_ms INTEGER;
