-- Whether the copy ever held as much as the registry did: until then it is the beginning of a history, which knows
-- certificates that were revoked since. The text is the same wherever there is a copy.
ALTER TABLE participant_copy_state
    ADD COLUMN filled boolean NOT NULL DEFAULT false,
    ADD CHECK (NOT filled OR version > 0);
UPDATE participant_copy_state SET filled = true WHERE version > 0;
