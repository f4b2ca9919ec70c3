-- Who is paid, for the events of settlements: a copy of what `transaction` says, so that recovery need not parse
-- 20,000 of those. The audit chain covers `transaction`, and nothing that moves money reads the copy. NULL in
-- payments from before; their settlements are told without a receiver.
ALTER TABLE payment ADD COLUMN creditor_tax_id text, ADD COLUMN creditor_key text;

-- Names this book: batches are numbered anew in another database, and whoever dedups events has to tell them apart.
CREATE TABLE book (id text NOT NULL);
INSERT INTO book (id) VALUES (gen_random_uuid()::text);
