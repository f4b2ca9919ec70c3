-- Settlement windows. What is not proven yet is in `open_window`, `complete_window` and `moving_position`, whose rows
-- change and go; what is closed is in `closed_window` and `closed_position`, whose rows are only ever added: the role
-- that serves may neither change nor remove them.

-- The window in which a shard's batches are counted at present, and the place that it marks in the book: `to_batch` is
-- the last batch that was counted. Whoever counts takes this row first, so a batch is counted once, however often and
-- by however many it is told.
CREATE TABLE open_window (
    shard          smallint    PRIMARY KEY,
    number         bigint      NOT NULL CHECK (number > 0),
    -- Names the SPI's book, as in `ce-source` of its events.
    book           text        NOT NULL,
    -- Its time is over, or an operator ended it.
    is_closing     boolean     NOT NULL,
    opened_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    after_batch    bigint      NOT NULL,
    to_batch       bigint      NOT NULL CHECK (to_batch >= after_batch),
    -- When `to_batch` was decided.
    decided_at     timestamptz,
    count          bigint      NOT NULL,
    gross_centavos bigint      NOT NULL
) WITH (fillfactor = 50);

-- Windows that hold all that was decided in them, and wait for their proof.
CREATE TABLE complete_window (
    number         bigint      PRIMARY KEY,
    shard          smallint    NOT NULL,
    book           text        NOT NULL,
    opened_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    after_batch    bigint      NOT NULL,
    to_batch       bigint      NOT NULL,
    decided_at     timestamptz,
    count          bigint      NOT NULL,
    gross_centavos bigint      NOT NULL
);

-- Positions in windows that are not closed.
CREATE TABLE moving_position (
    number            bigint NOT NULL,
    ispb              text   COLLATE "C" NOT NULL,
    sent_centavos     bigint NOT NULL,
    sent_count        bigint NOT NULL,
    received_centavos bigint NOT NULL,
    received_count    bigint NOT NULL,
    -- Of what was sent.
    returned_centavos bigint NOT NULL,
    returned_count    bigint NOT NULL,
    PRIMARY KEY (number, ispb)
) WITH (fillfactor = 50);

-- Windows with their proof.
CREATE TABLE closed_window (
    number              bigint      PRIMARY KEY,
    shard               smallint    NOT NULL,
    book                text        NOT NULL,
    settlement_date     date        NOT NULL,
    opened_at           timestamptz NOT NULL,
    ends_at             timestamptz NOT NULL,
    after_batch         bigint      NOT NULL,
    to_batch            bigint      NOT NULL,
    decided_at          timestamptz,
    count               bigint      NOT NULL,
    gross_centavos      bigint      NOT NULL,
    net_sum_centavos    bigint      NOT NULL,
    first_sequence      bigint      NOT NULL,
    last_sequence       bigint      NOT NULL,
    book_count          bigint      NOT NULL,
    book_gross_centavos bigint      NOT NULL,
    -- In words; none when the proof holds.
    differences         text[]      NOT NULL,
    proven_at           timestamptz NOT NULL
);
CREATE INDEX closed_window_settlement_date ON closed_window (settlement_date, number);

-- Positions in closed windows, by settlement date. A month is a partition: the service makes it before the first of its
-- windows closes.
CREATE TABLE closed_position (
    settlement_date   date   NOT NULL,
    number            bigint NOT NULL REFERENCES closed_window (number),
    ispb              text   COLLATE "C" NOT NULL,
    sent_centavos     bigint NOT NULL,
    sent_count        bigint NOT NULL,
    received_centavos bigint NOT NULL,
    received_count    bigint NOT NULL,
    returned_centavos bigint NOT NULL,
    returned_count    bigint NOT NULL,
    net_centavos      bigint NOT NULL CHECK (net_centavos = received_centavos - sent_centavos),
    PRIMARY KEY (settlement_date, number, ispb)
) PARTITION BY RANGE (settlement_date);
-- Of one participant, over the days.
CREATE INDEX closed_position_ispb ON closed_position (ispb, settlement_date);
