-- The bank's copy of its customers' keys: one row per registration, which its request to the DICT names for life.
-- It follows the DICT: requested, then active or refused; active, then removing and removed, or lost.
CREATE TABLE key_registration (
    request_id   text COLLATE "C" PRIMARY KEY,              -- RequestId: the same however often the DICT is asked
    account      bigint NOT NULL REFERENCES account,
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('CPF', 'CNPJ', 'PHONE', 'EMAIL', 'EVP')),
    key          text COLLATE "C",                          -- none: a random key that the DICT has not drawn yet
    wish         text COLLATE "C" UNIQUE,                   -- the caller's own name for it (Idempotency-Key)
    requested_at timestamptz NOT NULL,
    state        text COLLATE "C" NOT NULL
                 CHECK (state IN ('requested', 'active', 'refused', 'removing', 'removed', 'lost')),
    sent         boolean NOT NULL,                          -- the open question may have left
    refusal      text COLLATE "C",                          -- type of the DICT's problem
    CHECK (state <> 'refused' OR refusal IS NOT NULL),
    CHECK (key IS NOT NULL OR (kind = 'EVP' AND state IN ('requested', 'refused')))
);
-- Nobody registers a key here that the DICT has for this bank, or may have.
CREATE UNIQUE INDEX key_live ON key_registration (key) WHERE state IN ('requested', 'active', 'removing');
CREATE INDEX key_of_account ON key_registration (account, requested_at DESC);
CREATE INDEX key_newest ON key_registration (requested_at DESC);
CREATE INDEX key_named ON key_registration (key);
CREATE INDEX key_open ON key_registration (requested_at) WHERE state IN ('requested', 'removing');

-- The timeline of a registration.
CREATE TABLE key_step (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id text COLLATE "C" NOT NULL,
    stage      text COLLATE "C" NOT NULL,
    at         timestamptz NOT NULL,
    detail     text
);
CREATE INDEX key_step_of ON key_step (request_id, id);

-- Phones and e-mails that the bank knows to be a customer's: only these become keys.
CREATE TABLE contact (
    tax_id       text COLLATE "C" NOT NULL,
    contact      text COLLATE "C" NOT NULL,
    confirmed_at timestamptz NOT NULL,
    PRIMARY KEY (tax_id, contact)
);
CREATE INDEX contact_named ON contact (contact);
