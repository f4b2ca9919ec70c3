-- Settlements in the SPI, counted by day in Brasília: what statistics are made of.

-- Batches of payments that were counted: an event that comes again counts nothing. `source` names the book, whose
-- batches begin at one again in another database. Rows go when the SPI's stream cannot tell of them any more.
CREATE TABLE settled_batch (
    source     text        NOT NULL,
    shard      integer     NOT NULL,
    batch      bigint      NOT NULL,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (source, shard, batch)
);
CREATE INDEX settled_batch_decided_at ON settled_batch (decided_at);

-- Payments that a person received.
CREATE TABLE settled_to_person (
    tax_id text   NOT NULL,
    day    date   NOT NULL,
    count  bigint NOT NULL,
    PRIMARY KEY (tax_id, day)
) WITH (fillfactor = 80);

-- Payments that a key was used for, whoever had it.
CREATE TABLE settled_to_key (
    key_type text   NOT NULL,
    key      text   COLLATE "C" NOT NULL,
    day      date   NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (key_type, key, day)
) WITH (fillfactor = 80);
