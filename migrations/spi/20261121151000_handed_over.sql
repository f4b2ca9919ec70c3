-- When a message was first handed to its reader, and how often until the reader asked for what comes after it. Told by
-- the desk that heard of the confirmation; NULL when another process had handed it over, and in rows from before.
ALTER TABLE confirmation ADD COLUMN delivered_at timestamptz, ADD COLUMN attempts integer;
