-- Money into and out of a Conta PI by order of an operator. The postings are the SPI's; here is who ordered what, and
-- what became of it. Orders and outcomes only grow; an order without its outcome is pending.

CREATE TABLE funding_order (
    id              uuid        PRIMARY KEY,
    -- In the order in which they came.
    number          bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    ispb            text        COLLATE "C" NOT NULL REFERENCES participant (ispb),
    -- Below zero takes out.
    amount_centavos bigint      NOT NULL CHECK (amount_centavos <> 0),
    note            text        NOT NULL,
    -- Whether it is what the Conta PI starts with.
    is_opening      boolean     NOT NULL,
    -- The service whose certificate ordered it.
    ordered_by      text        NOT NULL,
    ordered_at      timestamptz NOT NULL
);
CREATE INDEX funding_order_ispb ON funding_order (ispb, number);

CREATE TABLE funding_outcome (
    id                 uuid        PRIMARY KEY REFERENCES funding_order (id),
    state              text        NOT NULL CHECK (state IN ('DONE', 'REFUSED')),
    at                 timestamptz NOT NULL,
    -- Why it was refused.
    reason             text,
    -- Of the posting, and what the Conta PI had then.
    sequence           bigint,
    batch              bigint,
    available_centavos bigint,
    CHECK (CASE state
               WHEN 'DONE' THEN reason IS NULL AND num_nulls(sequence, batch, available_centavos) = 0
               ELSE reason IS NOT NULL AND num_nonnulls(sequence, batch, available_centavos) = 0
           END)
);

-- What has yet to be asked of the SPI; a row goes when its outcome comes.
CREATE TABLE funding_pending (
    id uuid PRIMARY KEY REFERENCES funding_order (id)
);
