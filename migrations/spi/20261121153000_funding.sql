-- What postings from and to the funding account were for, once for each id; the audit chain covers it. Opening balances
-- of a participants file have no row here.
CREATE TABLE funding (
    id              text        PRIMARY KEY, -- UUID in lower case
    shard           smallint    NOT NULL,
    batch           bigint      NOT NULL,
    seq             bigint      NOT NULL,
    posting         bigint      NOT NULL,    -- seq of its posting
    account         text        NOT NULL,
    amount          bigint      NOT NULL CHECK (amount <> 0), -- below zero: out of the Conta PI
    ordered_by      text        NOT NULL,
    available_after bigint      NOT NULL CHECK (available_after >= 0),
    at              timestamptz NOT NULL,
    UNIQUE (shard, seq)
);
