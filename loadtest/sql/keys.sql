-- Entries number $1 to $2 of participant $3, for measuring lookups. `keys.rs` computes the same keys from the same
-- numbers; a test compares the two. What is there already stays.
--
-- Of a hundred keys 46 are random, 19 CPF, 18 phones, 14 e-mails and 3 CNPJ: about how keys are spread in Pix.
-- Identifiers of request and content are digests of the number: good as bytes, computed from nothing else. So these
-- entries are for looking up and are not there for reconciling.
INSERT INTO entry (key_type, key, participant, branch, account_number, account_type, opened_at, tax_id, name,
                   created_at, owned_since, request_id, cid)
SELECT k.key_type, k.key, $3, '0001', lpad(n::text, 10, '0'), 'CACC', '2020-11-16T03:00:00Z',
       CASE k.key_type WHEN 'CNPJ' THEN cnpj ELSE cpf END,
       CASE k.key_type WHEN 'CNPJ' THEN 'Empresa de Carga ' || n ELSE 'Pessoa de Carga' END,
       '2020-11-16T12:00:00Z', '2020-11-16T12:00:00Z',
       -- Version 4, as RequestIds are.
       set_byte(set_byte(substr(h, 17), 6, get_byte(h, 22) & 15 | 64), 8, get_byte(h, 24) & 63 | 128),
       sha256(h)
FROM generate_series($1::bigint, $2::bigint) AS n
CROSS JOIN LATERAL (SELECT sha256(convert_to(n::text, 'UTF8')) AS h) AS digest
-- Persons 100000000 and on; the first check digit weighs 10 to 2, the second 11 to 2.
CROSS JOIN LATERAL (SELECT lpad((100000000 + n)::text, 9, '0') AS p) AS person
CROSS JOIN LATERAL (
    SELECT (10 * (10 * substr(p, 1, 1)::int + 9 * substr(p, 2, 1)::int + 8 * substr(p, 3, 1)::int
                + 7 * substr(p, 4, 1)::int + 6 * substr(p, 5, 1)::int + 5 * substr(p, 6, 1)::int
                + 4 * substr(p, 7, 1)::int + 3 * substr(p, 8, 1)::int + 2 * substr(p, 9, 1)::int)) % 11 % 10 AS p1
) AS first_of_person
CROSS JOIN LATERAL (
    SELECT p || p1 || (10 * (11 * substr(p, 1, 1)::int + 10 * substr(p, 2, 1)::int + 9 * substr(p, 3, 1)::int
                + 8 * substr(p, 4, 1)::int + 7 * substr(p, 5, 1)::int + 6 * substr(p, 6, 1)::int
                + 5 * substr(p, 7, 1)::int + 4 * substr(p, 8, 1)::int + 3 * substr(p, 9, 1)::int + 2 * p1)) % 11 % 10
           AS cpf
) AS whole_person
-- Companies 20000000 and on, head office 0001; weights 5 to 2, 9 to 2, then 6 to 2, 9 to 2.
CROSS JOIN LATERAL (SELECT (20000000 + n)::text || '0001' AS c) AS company
CROSS JOIN LATERAL (
    SELECT (10 * (5 * substr(c, 1, 1)::int + 4 * substr(c, 2, 1)::int + 3 * substr(c, 3, 1)::int
                + 2 * substr(c, 4, 1)::int + 9 * substr(c, 5, 1)::int + 8 * substr(c, 6, 1)::int
                + 7 * substr(c, 7, 1)::int + 6 * substr(c, 8, 1)::int + 2)) % 11 % 10 AS c1
) AS first_of_company
CROSS JOIN LATERAL (
    SELECT c || c1 || (10 * (6 * substr(c, 1, 1)::int + 5 * substr(c, 2, 1)::int + 4 * substr(c, 3, 1)::int
                + 3 * substr(c, 4, 1)::int + 2 * substr(c, 5, 1)::int + 9 * substr(c, 6, 1)::int
                + 8 * substr(c, 7, 1)::int + 7 * substr(c, 8, 1)::int + 3 + 2 * c1)) % 11 % 10
           AS cnpj
) AS whole_company
CROSS JOIN LATERAL (
    SELECT CASE WHEN n % 100 < 46 THEN 'EVP' WHEN n % 100 < 65 THEN 'CPF' WHEN n % 100 < 83 THEN 'PHONE'
                WHEN n % 100 < 97 THEN 'EMAIL' ELSE 'CNPJ' END AS key_type
) AS t
CROSS JOIN LATERAL (
    SELECT key_type,
           CASE key_type
               WHEN 'EVP' THEN encode(set_byte(set_byte(substr(h, 1, 16), 6, get_byte(h, 6) & 15 | 64),
                                               8, get_byte(h, 8) & 63 | 128), 'hex')::uuid::text
               WHEN 'CPF' THEN cpf
               WHEN 'PHONE' THEN '+55119' || lpad(n::text, 8, '0')
               WHEN 'EMAIL' THEN 'pessoa' || n || '@carga.example'
               ELSE cnpj
           END AS key
) AS k
ON CONFLICT DO NOTHING
