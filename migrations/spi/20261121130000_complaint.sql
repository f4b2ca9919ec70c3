-- A participant's admi.002: it could not process one of our messages. For a person to look at; its bytes are in
-- message_in.
CREATE TABLE complaint (
    resource_id bytea       PRIMARY KEY, -- of the admi.002
    sender      text        NOT NULL,
    reference   text        NOT NULL,    -- RltdRef: MsgId or PI-ResourceId of our message, as its reader wrote it
    reason      text        NOT NULL,
    at          timestamptz NOT NULL
);
CREATE INDEX complaint_reference ON complaint (reference);
