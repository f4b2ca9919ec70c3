-- What is asked of the SPI, and when: by one process at a time, the orders of one account one after the other.
ALTER TABLE funding_pending
    ADD COLUMN number bigint UNIQUE REFERENCES funding_order (number),
    ADD COLUMN ispb text COLLATE "C" REFERENCES participant (ispb),
    -- Nobody else asks before then.
    ADD COLUMN leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- The last attempt whose answer is not known: it may still arrive.
    ADD COLUMN unknown_at timestamptz;
UPDATE funding_pending p SET number = o.number, ispb = o.ispb FROM funding_order o WHERE o.id = p.id;
ALTER TABLE funding_pending
    ALTER COLUMN number SET NOT NULL,
    ALTER COLUMN ispb SET NOT NULL;
CREATE INDEX funding_pending_ispb ON funding_pending (ispb, number);
