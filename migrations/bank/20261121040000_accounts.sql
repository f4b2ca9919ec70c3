-- Accounts of customers, and the bank's own pockets. Amounts are centavos.
-- Pockets of customers never go below zero; the bank's own mirror what others hold for it, and may.
CREATE TABLE account (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    branch      text COLLATE "C" NOT NULL,
    number      text COLLATE "C" NOT NULL,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('CACC', 'SVGS', 'TRAN', 'SLRY', 'OTHR')),
    holder      text NOT NULL,
    tax_id      text COLLATE "C" NOT NULL,
    state       text COLLATE "C" NOT NULL CHECK (state IN ('open', 'blocked', 'closed')),
    available   bigint NOT NULL CHECK (available >= 0),
    blocked     bigint NOT NULL DEFAULT 0 CHECK (blocked >= 0),
    provisional bigint NOT NULL DEFAULT 0 CHECK (provisional >= 0),
    opened_at   timestamptz NOT NULL
);
-- 0001 and 1 are the same branch.
CREATE UNIQUE INDEX account_number ON account (number, (branch::int));

CREATE TABLE own_account (
    name    text COLLATE "C" PRIMARY KEY,
    balance bigint NOT NULL
);
INSERT INTO own_account (name, balance) VALUES ('settlement', 0), ('in_transit', 0), ('opening', 0);
