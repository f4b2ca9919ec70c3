-- A list of a participant's keys is read page by page, each from the key where the one before it ended.
CREATE INDEX entry_participant ON entry (participant, key);

-- Every createEntry has an answer now, whichever face it came by: what repeats it by the other is answered the same.
ALTER TABLE create_request ALTER COLUMN answer SET NOT NULL;
