-- Messages to the SPI, signed before they are stored: whatever happens, the same bytes go out again.
CREATE TABLE outbound (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text COLLATE "C" NOT NULL UNIQUE,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('pacs.008', 'pacs.002', 'admi.002')),
    channel     text COLLATE "C" NOT NULL CHECK (channel IN ('primary', 'secondary')),
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    state       text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'refused')),
    ended_at    timestamptz,
    resource_id text COLLATE "C",                           -- PI-ResourceId of the 201
    status      integer                                     -- HTTP status of the refusal
);
CREATE INDEX outbound_waiting ON outbound (channel, id) WHERE state = 'waiting';
CREATE INDEX outbound_resource ON outbound (resource_id) WHERE resource_id IS NOT NULL;

-- Which payments a message carries: an admi.002 names the message only.
CREATE TABLE outbound_item (
    message_id    text COLLATE "C" NOT NULL,
    position      integer NOT NULL,
    end_to_end_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (message_id, position)
);

-- An admi.002 may name the PI-ResourceId of a message whose 201 has not arrived yet.
CREATE TABLE early_refusal (
    reference text COLLATE "C" PRIMARY KEY,
    at        timestamptz NOT NULL
);
