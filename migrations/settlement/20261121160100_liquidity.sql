-- On which side of its threshold each participant was when it was last told: what was told once is not told again by
-- the next process.
CREATE TABLE liquidity (
    ispb   text        COLLATE "C" PRIMARY KEY,
    is_low boolean     NOT NULL,
    at     timestamptz NOT NULL
);
