-- Token buckets are in Redis; what must outlive it is here.

-- Buckets that are, or were lately, below zero: the deepest debt known. A row goes when its bucket would be full again.
CREATE TABLE bucket_debt (
    policy      text        NOT NULL,
    participant text        NOT NULL,
    -- CPF or CNPJ; '' in buckets of participants.
    payer       text        NOT NULL,
    -- Level, and when; one token is period_ms units.
    units       bigint      NOT NULL,
    at_ms       bigint      NOT NULL,
    tokens      bigint      NOT NULL,
    period_ms   bigint      NOT NULL,
    capacity    bigint      NOT NULL,
    full_at_ms  bigint      NOT NULL,
    PRIMARY KEY (policy, participant, payer)
);

-- One row once Redis was filled for the first time, with full buckets; from then on an empty Redis has lost something.
CREATE TABLE buckets_began (
    id integer     PRIMARY KEY CHECK (id = 1),
    at timestamptz NOT NULL DEFAULT now()
);

-- Keys the names under which payers are in Redis: no CPF or CNPJ is in its keys, logs and dumps.
CREATE TABLE bucket_secret (secret bytea NOT NULL CHECK (length(secret) = 32));
INSERT INTO bucket_secret (secret)
VALUES (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
