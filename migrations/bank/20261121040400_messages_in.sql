-- Messages from the SPI, once per PI-ResourceId: a message delivered again has no second effect.
CREATE TABLE inbound (
    resource_id text COLLATE "C" PRIMARY KEY,
    channel     text COLLATE "C" NOT NULL,
    message_id  text COLLATE "C",
    kind        text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C" NOT NULL CHECK (outcome IN ('applied', 'unreadable', 'ignored', 'poisoned')),
    detail      text,
    body        bytea NOT NULL,                             -- gzip of what arrived
    received_at timestamptz NOT NULL
);

-- A refusal that overtook its order.
CREATE TABLE early_status (
    end_to_end_id text COLLATE "C" PRIMARY KEY,
    reason        text COLLATE "C" NOT NULL,
    at            timestamptz NOT NULL
);

-- What people should look at; none of it moved money.
CREATE TABLE anomaly (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    end_to_end_id text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    at            timestamptz NOT NULL
);
