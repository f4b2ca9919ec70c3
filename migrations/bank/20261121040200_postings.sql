-- Every move of money: from one pocket to another, so the sum over all pockets never changes.
-- A pocket is a name and, for customers, an account. Appended, never changed.
CREATE TABLE posting (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    end_to_end_id  text COLLATE "C",                        -- none: an opening balance
    source         text COLLATE "C" NOT NULL,
    source_account bigint REFERENCES account,
    target         text COLLATE "C" NOT NULL,
    target_account bigint REFERENCES account,
    amount         bigint NOT NULL CHECK (amount >= 0),
    at             timestamptz NOT NULL
);
CREATE INDEX posting_of_payment ON posting (end_to_end_id) WHERE end_to_end_id IS NOT NULL;
