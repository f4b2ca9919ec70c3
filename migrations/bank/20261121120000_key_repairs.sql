-- A key that the DICT had lost gets there again by a registration of its own, which no customer asked for.
ALTER TABLE key_registration ADD COLUMN repairs boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN key_registration.sent IS
    'the open question may have left; of a refused one: an attempt got no answer, and may have been carried out';

-- What is compared with the DICT, in the order of the keys.
CREATE INDEX key_compared ON key_registration (key)
    WHERE state = 'active' OR (state = 'refused' AND sent) OR (state = 'lost' AND kind = 'EVP');
