-- The Conta PI book. Rows are appended; only `account` and the checkpoints are updated.
-- Payments and their steps live in the month inside their EndToEndId, so that their primary key is global;
-- everything else lives in the day (UTC) it was written. The service makes partitions ahead.
-- `seq` numbers every row of a shard without gaps, in the order of decisions.

CREATE TABLE account (
    account   text   PRIMARY KEY,
    available bigint NOT NULL,
    blocked   bigint NOT NULL CHECK (blocked >= 0),
    -- The funding account (the SPI's own ISPB) is where opening balances come from.
    CHECK (available >= 0 OR account = '00038166')
);

-- One row per COMMIT of a shard: tells whether a COMMIT whose answer was lost happened, where recovery
-- starts reading, and links the audit chain.
CREATE TABLE batch (
    shard          smallint    NOT NULL,
    number         bigint      NOT NULL,
    first_seq      bigint      NOT NULL,
    last_seq       bigint      NOT NULL,
    open_from_seq  bigint      NOT NULL,
    last_outbox_id bigint      NOT NULL,
    decided_at     timestamptz NOT NULL,
    audit_hash     bytea       NOT NULL,
    PRIMARY KEY (shard, number)
);

CREATE TABLE message_in (
    day         date        NOT NULL,
    seq         bigint      NOT NULL,
    shard       smallint    NOT NULL,
    resource_id bytea       NOT NULL,
    sender      text        NOT NULL,
    channel     text        NOT NULL,
    message_id  text,
    received_at timestamptz NOT NULL,
    digest      bytea       NOT NULL,
    kind        text        NOT NULL,
    raw         bytea       COMPRESSION lz4 NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX message_in_seq ON message_in USING brin (seq) WITH (autosummarize = on);

-- (ISPB, MsgId) of what was taken in: the same bytes get the same PI-ResourceId. Looked up for 48 hours.
CREATE TABLE message_key (
    day         date  NOT NULL,
    sender      text  NOT NULL,
    message_id  text  NOT NULL,
    digest      bytea NOT NULL,
    resource_id bytea NOT NULL,
    PRIMARY KEY (sender, message_id, day)
) PARTITION BY RANGE (day);

CREATE TABLE payment (
    month          integer     NOT NULL,
    end_to_end_id  text        NOT NULL,
    seq            bigint      NOT NULL,
    shard          smallint    NOT NULL,
    payer          text        NOT NULL,
    receiver       text        NOT NULL,
    debtor_agent   text        NOT NULL,
    creditor_agent text        NOT NULL,
    amount         bigint      NOT NULL CHECK (amount >= 0),
    service_level  text        NOT NULL,
    accepted_at    timestamptz NOT NULL,
    received_at    timestamptz NOT NULL,
    deadline       timestamptz NOT NULL,
    fingerprint    bytea       NOT NULL,
    resource_id    bytea       NOT NULL,
    transaction    bytea       COMPRESSION lz4 NOT NULL,
    PRIMARY KEY (month, end_to_end_id)
) PARTITION BY RANGE (month);
CREATE INDEX payment_seq ON payment USING brin (seq) WITH (autosummarize = on);

-- Step 1: blocked. Step 2: settled, released or refused. The key allows one end.
CREATE TABLE payment_step (
    month         integer     NOT NULL,
    end_to_end_id text        NOT NULL,
    step          smallint    NOT NULL CHECK (step IN (1, 2)),
    seq           bigint      NOT NULL,
    shard         smallint    NOT NULL,
    outcome       text        NOT NULL,
    reason        text,
    detail        text,
    at            timestamptz NOT NULL,
    PRIMARY KEY (month, end_to_end_id, step),
    CHECK ((step = 1) = (outcome = 'blocked'))
) PARTITION BY RANGE (month);
CREATE INDEX payment_step_seq ON payment_step USING brin (seq) WITH (autosummarize = on);

-- So much from one account to another: zero-sum by shape.
CREATE TABLE posting (
    day           date        NOT NULL,
    seq           bigint      NOT NULL,
    shard         smallint    NOT NULL,
    debit         text        NOT NULL,
    credit        text        NOT NULL,
    amount        bigint      NOT NULL CHECK (amount > 0),
    end_to_end_id text,
    at            timestamptz NOT NULL
) PARTITION BY RANGE (day);
CREATE INDEX posting_seq ON posting USING brin (seq) WITH (autosummarize = on);

-- Transactions on their way into messages. `fragment` is the canonical XML that goes into one; a pacs.008's
-- is in its payment.
CREATE TABLE outbox (
    day           date        NOT NULL,
    id            bigint      NOT NULL,
    shard         smallint    NOT NULL,
    destination   text        NOT NULL,
    channel       text        NOT NULL,
    form          text        NOT NULL,
    end_to_end_id text,
    month         integer,
    created_at    timestamptz NOT NULL,
    fragment      bytea,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
-- For questions about one payment: its items were written between its receipt and its end.
CREATE INDEX outbox_created_at ON outbox USING brin (created_at) WITH (autosummarize = on);

-- Events of a COMMIT, one per subject, published in order.
CREATE TABLE event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard   smallint    NOT NULL,
    batch   bigint      NOT NULL,
    subject text        NOT NULL,
    payload bytea       NOT NULL,
    at      timestamptz NOT NULL,
    UNIQUE (shard, batch, subject)
);
CREATE TABLE event_cursor (
    shard        smallint PRIMARY KEY,
    published_id bigint   NOT NULL
);

-- A message whose decision failed: kept, answered with an admi.002, for a person to look at.
CREATE TABLE dead_letter (
    resource_id bytea       PRIMARY KEY,
    sender      text        NOT NULL,
    why         text        NOT NULL,
    at          timestamptz NOT NULL
);

-- Heads of the audit chain, signed now and then with the SPI's signature key.
CREATE TABLE audit_head (
    shard     smallint    NOT NULL,
    number    bigint      NOT NULL,
    hash      bytea       NOT NULL,
    signature bytea       NOT NULL,
    serial    text        NOT NULL, -- of the certificate whose key signed
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (shard, number)
);
