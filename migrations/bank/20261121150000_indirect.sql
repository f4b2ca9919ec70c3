-- An indirect participant that the bank settles for has one account here, for all of its customers.
ALTER TABLE account ADD COLUMN indirect text COLLATE "C";   -- its ISPB
CREATE UNIQUE INDEX account_indirect ON account (indirect) WHERE indirect IS NOT NULL;

-- Which of its customers paid, or was paid.
ALTER TABLE payment
    ADD COLUMN behalf_ispb   text COLLATE "C",
    ADD COLUMN behalf_branch text COLLATE "C",
    ADD COLUMN behalf_number text COLLATE "C",
    ADD COLUMN behalf_kind   text COLLATE "C",
    ADD COLUMN behalf_tax_id text COLLATE "C",
    ADD COLUMN behalf_name   text,
    ADD CHECK (num_nonnulls(behalf_ispb, behalf_number, behalf_kind, behalf_tax_id) IN (0, 4));
