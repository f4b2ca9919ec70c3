-- One row per payment, whichever side this bank is on. States only go forward: pending, then settled or refused.
CREATE TABLE payment (
    end_to_end_id       text COLLATE "C" PRIMARY KEY,
    course              text COLLATE "C" NOT NULL CHECK (course IN ('out', 'in', 'book')),
    account             bigint REFERENCES account,          -- none: the incoming order named no account of ours
    receiver            bigint REFERENCES account,          -- of a book transfer
    amount              bigint NOT NULL CHECK (amount >= 0),
    accepted_at         timestamptz NOT NULL,               -- AccptncDtTm
    counterparty_ispb   text COLLATE "C" NOT NULL,
    counterparty_branch text COLLATE "C",
    counterparty_number text COLLATE "C" NOT NULL,
    counterparty_kind   text COLLATE "C" NOT NULL,
    counterparty_tax_id text COLLATE "C" NOT NULL,
    counterparty_name   text,
    description         text,
    created_at          timestamptz NOT NULL,
    state               text COLLATE "C" NOT NULL CHECK (state IN ('pending', 'settled', 'refused')),
    ended_at            timestamptz,
    refusal             text COLLATE "C",
    refused_by_us       boolean,
    CHECK ((state = 'pending') = (ended_at IS NULL)),
    CHECK ((state = 'refused') = (refusal IS NOT NULL)),
    CHECK ((course = 'book') = (receiver IS NOT NULL))
);
CREATE INDEX payment_of_account ON payment (account, created_at DESC);
CREATE INDEX payment_into_account ON payment (receiver, created_at DESC) WHERE receiver IS NOT NULL;
CREATE INDEX payment_open ON payment (created_at) WHERE state = 'pending';

-- The timeline of a payment.
CREATE TABLE payment_step (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    end_to_end_id text COLLATE "C" NOT NULL,
    stage         text COLLATE "C" NOT NULL,
    at            timestamptz NOT NULL,
    detail        text
);
CREATE INDEX payment_step_of ON payment_step (end_to_end_id, id);

-- The caller's own names for orders (Idempotency-Key).
CREATE TABLE order_key (
    key           text COLLATE "C" PRIMARY KEY,
    end_to_end_id text COLLATE "C" NOT NULL
);
