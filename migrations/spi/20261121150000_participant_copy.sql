-- The copy of the participants that this service authenticates by; the settlement service owns them. The text is the
-- same wherever there is a copy.
CREATE TABLE participant_copy (
    ispb      text   PRIMARY KEY,
    version   bigint NOT NULL CHECK (version > 0), -- the change that made it so
    at_micros bigint NOT NULL,                     -- when that was, by the registry
    record    bytea  NOT NULL                      -- pix.settlement.v1.Participant
);

-- What the copy is a copy of, and up to which change it is complete.
CREATE TABLE participant_copy_state (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    registry text    NOT NULL CHECK (registry <> ''),
    version  bigint  NOT NULL CHECK (version >= 0)
);
