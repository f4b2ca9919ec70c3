-- How often a message was posted until its end at the door; NULL while it waits (the process that brings it counts)
-- and in rows from before.
ALTER TABLE outbound ADD COLUMN attempts integer;

-- Which messages tell of a payment.
CREATE INDEX outbound_item_of ON outbound_item (end_to_end_id);
