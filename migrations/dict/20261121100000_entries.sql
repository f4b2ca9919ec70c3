-- The directory: keys and the accounts they stand for. `entry` is what is true now; everything else is appended,
-- but for `vsync` (one row for each participant and kind of key) and `outbox_event` (gone once it is published).
-- Lock order of a transaction that writes: advisory lock on the account, then the row of the entry, then vsync.

-- Partitioned by the kind of key: a lookup names the kind as a constant and meets one partition, one index.
-- Keys compare by their bytes ("C"): no collation of an operating system decides where money goes.
CREATE TABLE entry (
    key_type        text        NOT NULL,
    key             text        COLLATE "C" NOT NULL,
    participant     text        NOT NULL,
    branch          text,
    account_number  text        NOT NULL,
    account_type    text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    tax_id          text        NOT NULL,
    name            text        NOT NULL,
    trade_name      text,
    created_at      timestamptz NOT NULL,
    owned_since     timestamptz NOT NULL,
    claim_opened_at timestamptz,
    -- The request that created it: the 16 bytes that key its content identifier, after updates too.
    request_id      bytea       NOT NULL CHECK (length(request_id) = 16),
    cid             bytea       NOT NULL CHECK (length(cid) = 32),
    -- `0001` and `1` are one branch; no branch is -1. For the index below.
    branch_number   smallint    NOT NULL GENERATED ALWAYS AS (COALESCE(branch::smallint, -1)) STORED,
    PRIMARY KEY (key_type, key)
) PARTITION BY LIST (key_type);
CREATE TABLE entry_cpf   PARTITION OF entry FOR VALUES IN ('CPF');
CREATE TABLE entry_cnpj  PARTITION OF entry FOR VALUES IN ('CNPJ');
CREATE TABLE entry_phone PARTITION OF entry FOR VALUES IN ('PHONE');
CREATE TABLE entry_email PARTITION OF entry FOR VALUES IN ('EMAIL');
CREATE TABLE entry_evp   PARTITION OF entry FOR VALUES IN ('EVP');
-- The keys of an account, whose number is limited; its first column serves the list of a participant.
CREATE INDEX entry_account ON entry (participant, branch_number, account_number, account_type);
-- The accounts of a person, for its statistics.
CREATE INDEX entry_tax_id ON entry (tax_id);

-- Numbers the changes, for consumers of the events: ascending, with gaps, visible out of order.
CREATE SEQUENCE entry_change;

-- Every version of every entry: how it was made, what it became, what it was when it was removed.
CREATE TABLE entry_history (
    sequence        bigint      PRIMARY KEY,
    change          text        NOT NULL CHECK (change IN ('CREATED', 'UPDATED', 'DELETED')),
    reason          text        NOT NULL,
    at              timestamptz NOT NULL,
    key_type        text        NOT NULL,
    key             text        COLLATE "C" NOT NULL,
    participant     text        NOT NULL,
    branch          text,
    account_number  text        NOT NULL,
    account_type    text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    tax_id          text        NOT NULL,
    name            text        NOT NULL,
    trade_name      text,
    created_at      timestamptz NOT NULL,
    owned_since     timestamptz NOT NULL,
    claim_opened_at timestamptz,
    request_id      bytea       NOT NULL,
    cid             bytea       NOT NULL
);
CREATE INDEX entry_history_key ON entry_history (key_type, key, sequence);
CREATE INDEX entry_history_tax_id ON entry_history (tax_id);

-- What createEntry answered, by the request's id: a repeat gets the same bytes, also after the entry is gone.
CREATE TABLE create_request (
    participant text        NOT NULL,
    request_id  bytea       NOT NULL CHECK (length(request_id) = 16),
    key_type    text        NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    cid         bytea       NOT NULL CHECK (length(cid) = 32),
    -- The version of `entry_history` that it made.
    sequence    bigint      NOT NULL,
    at          timestamptz NOT NULL,
    -- Absent when it was asked inside, where nothing is signed.
    answer      bytea       COMPRESSION lz4,
    PRIMARY KEY (participant, request_id)
);

-- XOR of the content identifiers of a participant's keys of one kind (verificador de sincronismo). A bit string,
-- because Postgres can XOR those: the row is locked for one statement and the COMMIT, not for a round trip more.
CREATE TABLE vsync (
    participant text     NOT NULL,
    key_type    text     NOT NULL,
    value       bit(256) NOT NULL,
    PRIMARY KEY (participant, key_type)
) WITH (fillfactor = 50);

-- What came to and went from a participant's set of content identifiers, with the VSync after it. Its numbers are
-- drawn while the vsync row is locked, so for one participant and kind they ascend in the order of the COMMITs.
CREATE TABLE cid_event (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    participant text        NOT NULL,
    key_type    text        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('ADDED', 'REMOVED')),
    cid         bytea       NOT NULL CHECK (length(cid) = 32),
    at          timestamptz NOT NULL,
    vsync_after bit(256)    NOT NULL,
    PRIMARY KEY (participant, key_type, id)
);
CREATE INDEX cid_event_cid ON cid_event (cid);

-- Events that nobody has acknowledged yet.
CREATE TABLE outbox_event (
    sequence bigint      PRIMARY KEY,
    subject  text        NOT NULL,
    payload  bytea       NOT NULL,
    at       timestamptz NOT NULL
);

-- Names this directory: its numbers begin anew in another database, and whoever dedups events has to tell them apart.
CREATE TABLE directory (id text NOT NULL);
INSERT INTO directory (id) VALUES (gen_random_uuid()::text);
