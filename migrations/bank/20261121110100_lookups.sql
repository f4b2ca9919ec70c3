-- Whom a key stood for when a payer was shown it. Committed before it is shown; the payment that may follow takes
-- its id, so a look-up leads to one payment at most.
CREATE TABLE lookup (
    end_to_end_id text COLLATE "C" PRIMARY KEY,
    account       bigint NOT NULL REFERENCES account,       -- the payer
    kind          text COLLATE "C" NOT NULL,
    key           text COLLATE "C" NOT NULL,
    ispb          text COLLATE "C" NOT NULL,
    branch        text COLLATE "C",
    number        text COLLATE "C" NOT NULL,
    account_kind  text COLLATE "C" NOT NULL,
    tax_id        text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    at            timestamptz NOT NULL
);

ALTER TABLE payment ADD COLUMN key text COLLATE "C";        -- the receiver's, when the payer used one
