-- Who takes part. `change` is the truth and only grows; `participant` says which change made each what it is now, and
-- `certificate` what each one is good for. A change takes the row of `registry` first: versions ascend by one in the
-- order of the COMMITs, however many processes write.

-- Names this registry: its versions begin anew in another database, and whoever keeps a copy has to tell them apart.
CREATE TABLE registry (
    id      text   NOT NULL,
    -- The last change; 0 when there was none.
    version bigint NOT NULL CHECK (version >= 0)
);
INSERT INTO registry (id, version) VALUES (gen_random_uuid()::text, 0);

CREATE TABLE change (
    version     bigint      PRIMARY KEY CHECK (version > 0),
    at          timestamptz NOT NULL,
    ispb        text        COLLATE "C" NOT NULL,
    kind        text        NOT NULL,
    -- The service whose certificate ordered it.
    ordered_by  text        NOT NULL,
    -- The operator's reason, where one is asked for.
    reason      text,
    -- The participant as it is since then: pix.settlement.v1.Participant.
    participant bytea       COMPRESSION lz4 NOT NULL
);
CREATE INDEX change_ispb ON change (ispb, version);

CREATE TABLE participant (
    ispb                   text   COLLATE "C" PRIMARY KEY,
    name                   text   NOT NULL,
    settler                text   COLLATE "C" NOT NULL REFERENCES participant (ispb),
    category               text   NOT NULL,
    state                  text   NOT NULL CHECK (state IN ('ACTIVE', 'SUSPENDED')),
    low_liquidity_centavos bigint,
    version                bigint NOT NULL REFERENCES change (version)
);

CREATE TABLE certificate (
    fingerprint bytea       PRIMARY KEY CHECK (length(fingerprint) = 32),
    ispb        text        COLLATE "C" NOT NULL REFERENCES participant (ispb),
    use         text        NOT NULL CHECK (use IN ('CHANNEL', 'SIGNATURE')),
    not_before  timestamptz NOT NULL,
    not_after   timestamptz NOT NULL,
    -- Set once.
    revoked_at  timestamptz
);
CREATE INDEX certificate_ispb ON certificate (ispb);

-- Events that nobody has acknowledged yet.
CREATE TABLE outbox_event (
    sequence bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject  text        NOT NULL,
    payload  bytea       NOT NULL,
    at       timestamptz NOT NULL
);
