-- What an answer answers, so that a message gets one answer at most however often it is tried. NULL for
-- what users wrote and for answers of earlier releases.
ALTER TABLE messages ADD COLUMN in_reply_to BIGINT;
CREATE UNIQUE INDEX messages_in_reply_to ON messages (in_reply_to);
