-- Token buckets are in Redis; what must outlive it is here.

-- Buckets that are, or were lately, below zero: the last debt known. A row goes when its bucket would be full again.
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

-- One row once the buckets began, full; from then on an empty Redis has lost something.
CREATE TABLE buckets_began (
    id integer     PRIMARY KEY CHECK (id = 1),
    at timestamptz NOT NULL DEFAULT now()
);
