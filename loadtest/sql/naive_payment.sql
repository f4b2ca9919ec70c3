-- One payment in three steps, each with its COMMIT: block, note the answer, settle with both accounts locked.
\set payer random(1, :banks)
\set hop random(1, :banks - 1)
\set receiver 1 + (:payer + :hop - 1) % :banks
BEGIN;
SELECT available FROM naive_account WHERE bank = :payer FOR UPDATE;
UPDATE naive_account SET available = available - 1, blocked = blocked + 1 WHERE bank = :payer;
INSERT INTO naive_payment (payer, receiver, amount, state) VALUES (:payer, :receiver, 1, 'blocked') RETURNING id \gset
COMMIT;
BEGIN;
UPDATE naive_payment SET state = 'answered' WHERE id = :id;
COMMIT;
BEGIN;
SELECT available FROM naive_account WHERE bank IN (:payer, :receiver) ORDER BY bank FOR UPDATE;
UPDATE naive_account SET blocked = blocked - 1 WHERE bank = :payer;
UPDATE naive_account SET available = available + 1 WHERE bank = :receiver;
UPDATE naive_payment SET state = 'settled' WHERE id = :id;
COMMIT;
