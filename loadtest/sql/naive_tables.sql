-- The naive switch that the yardstick pays with: balances as rows, a payment as a row that is updated.
DROP TABLE IF EXISTS naive_payment, naive_account;
CREATE TABLE naive_account (bank int PRIMARY KEY, available bigint NOT NULL, blocked bigint NOT NULL);
CREATE TABLE naive_payment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payer int NOT NULL, receiver int NOT NULL, amount bigint NOT NULL, state text NOT NULL);
