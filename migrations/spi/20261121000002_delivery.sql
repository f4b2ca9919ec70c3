-- Numbers lead in the keys: what recovery and the sweeper ask is `id >= n`, over all days.
--
-- Formed messages. Forming is a durable act: the row is committed before the first byte leaves, and an
-- unconfirmed message is always the same row, the same bytes, the same ResourceId.

CREATE TABLE delivery (
    day           date        NOT NULL,
    id            bigint      NOT NULL,
    destination   text        NOT NULL,
    channel       text        NOT NULL,
    form          text        NOT NULL,
    resource_id   bytea       NOT NULL,
    message_id    text        NOT NULL,
    created_at    timestamptz NOT NULL,
    bytes         bytea       COMPRESSION lz4 NOT NULL,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);

-- An outbox item belongs to at most one delivery: the key says so.
CREATE TABLE delivery_item (
    outbox_day    date     NOT NULL,
    outbox_id     bigint   NOT NULL,
    delivery_day  date     NOT NULL,
    delivery_id   bigint   NOT NULL,
    position      smallint NOT NULL,
    end_to_end_id text,
    PRIMARY KEY (outbox_id, outbox_day)
) PARTITION BY RANGE (outbox_day);

-- The reader asked for what comes after it.
CREATE TABLE confirmation (
    delivery_day date        NOT NULL,
    delivery_id  bigint      NOT NULL,
    at           timestamptz NOT NULL,
    PRIMARY KEY (delivery_id, delivery_day)
) PARTITION BY RANGE (delivery_day);

-- Where recovery starts reading: nothing below is unformed or unconfirmed.
CREATE TABLE delivery_checkpoint (
    single           boolean PRIMARY KEY DEFAULT true CHECK (single),
    outbox_from      bigint NOT NULL DEFAULT 1,
    delivery_from    bigint NOT NULL DEFAULT 1,
    last_delivery_id bigint NOT NULL DEFAULT 0
);
INSERT INTO delivery_checkpoint DEFAULT VALUES;
