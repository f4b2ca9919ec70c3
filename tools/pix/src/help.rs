//! The longer texts of `--help`: what a command is for, and examples that work on a fresh `pix up`.

pub(crate) const PIX: &str = "\
Where to begin:
  pix up                                   everything, and a first payment
  pix status                               what runs, what waits in it, how much goes through it
  pix doctor                               what is missing or wrong here, with the fix
  pix pay --from A --to-key elisa.prado@horizonte.example --amount 10.50
  pix payment E2EID                        where that payment is, and what happens next
  pix logs --follow                        what everybody writes

Exit codes: 0 done; 1 it did not work, and a sentence says what to do; 2 the command line is wrong; 3 refused (a payment,
a key); 4 not known yet.";

pub(crate) const UP: &str = "\
Everything lives in one folder (--dir, `.pix` unless given): databases, keys, settings, logs. A second start goes on where
the last one ended; whatever ends meanwhile is started again within 100 ms. Servers are private copies on loopback.

Examples:
  pix up
  pix up --no-payment
  pix --dir /srv/second --port-offset 1320 up      a second switch beside the first";

pub(crate) const DOWN: &str = "\
Examples:
  pix down                         the data stays
  pix down --purge                 and forget everything: databases, keys, balances";

pub(crate) const PKI: &str = "\
Certificates of the development authority, which nothing else should ever trust.

Examples:
  pix pki participant --ispb 33333333 --out bank-33333333 --balance 100000.00
  pix pki participant --ispb 33333333 --out bank-33333333 --force       new keys; those before are good no more
  pix pki sign --with bank-33333333 <order.xml >signed.xml
  pix pki verify --with bank-33333333 <heard.xml";

pub(crate) const STATUS: &str = "\
Waiting: of spi, `open` payments are blocked and have no end, `book` messages wait for the book, `unformed` transactions for
a message, `unread` messages for their reader; of dict, `events` have not left; of a bank, `pending` payments have no end,
`waiting` messages have not been taken by the switch, `posting` ones are on their way just now; of settlement, `funding` orders
have no end, and `followers` are the services that copy its registry.

Examples:
  pix status
  pix status --over 5              rates over five seconds
  pix status --json --over 0       at once, without rates
  watch pix status";

pub(crate) const DOCTOR: &str = "\
Each line is `ok`, `watch` (it works, and will not always) or `wrong`, and names its fix. The exit code is 1 when
something is wrong. It looks at: programs and their versions, the user, the folder, ports, disk, memory, open files, the
clock (against certificates, logs and data, which cannot be of the future), certificates, services and their versions,
the database's durability, and whether the books sum up to zero.

Examples:
  pix doctor
  pix doctor --free-gib 20         warn below 20 GiB on the disk
  pix doctor --json";

pub(crate) const LOGS: &str = "\
SERVICE is spi, dict, settlement, bank-11111111 (or 11111111), virtual, postgres, redis or nats; all of them unless given. A
payment is found by its EndToEndId and by the ids of the messages that told of it.

Examples:
  pix logs                         the last 50 lines of everybody
  pix logs spi --lines 200
  pix logs --follow
  pix logs --e2e E1111111120261121150000000000001
  pix logs --e2e E1111111120261121150000000000001 --json";

pub(crate) const PAYMENT: &str = "\
Stages: looked_up, accepted, blocked (at the payer's bank), sent; received, blocked, formed, delivered, confirmed, answered,
settled (or released, refused), told (at the switch, and the receiver's bank in between). `ms` counts from the beginning,
`+ms` from the line before; attempts are told when there was more than one. What stands last is what happens next.

The same, raw, from each service: http://127.0.0.1:5002/payments/E2EID (switch),
http://127.0.0.1:4101/api/payments/E2EID (bank A), http://127.0.0.1:5009/payments/E2EID (virtual participants).

Exit codes: 0 settled, 3 refused, 4 still pending, 1 unknown to everybody.

Examples:
  pix payment E1111111120261121150000000000001
  pix payment E1111111120261121150000000000001 --json";

pub(crate) const PARTICIPANT: &str = "\
A direct participant has a Conta PI, and certificates: one for its TLS channel, one for its signature, and more of each while
one follows another. An indirect one stands behind its settler and has neither. Nobody leaves: whoever is suspended is
refused at the door and as receiver until resumed; what is under way goes on to its end. Changes reach the switch's
services at once, and an open connection of a revoked certificate is cut within five seconds.

Examples:
  pix participant list
  pix participant show 11111111
  pix participant add --ispb 44444444 --name \"Banco Novo\" --channel-cert channel.crt --signature-cert signature.crt
  pix participant add --ispb 4444000V --name \"Cooperativa\" --settler 44444444
  pix participant fund --ispb 44444444 --amount 1000.00
  pix participant fund --ispb 44444444 --amount -250.00          takes out
  pix participant certs 44444444
  pix participant certs 44444444 --add signature-2027.crt --use SIGNATURE
  pix participant revoke 44444444 --fingerprint 1f2e3d4c --reason \"key lost\"
  pix participant suspend 44444444 --reason \"by request\"
  pix participant resume 44444444";

pub(crate) const WINDOW: &str = "\
A window is a span of settled payments: what each participant sent and received in it, and the proof that this is what the
book's postings say. The next one opens as one closes.

Examples:
  pix window list
  pix window list --date 2026-11-21
  pix window show                  the open one
  pix window show 12
  pix window close                 now; answers when it is closed and proven";

pub(crate) const BALANCE: &str = "\
Examples:
  pix balance                      every Conta PI, as the book has it now
  pix balance --watch              and each change, until Ctrl-C
  pix balance --watch --json       one object a change";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  pix completions bash >/etc/bash_completion.d/pix
  pix completions zsh >\"${fpath[1]}/_pix\"
  pix completions fish >~/.config/fish/completions/pix.fish
  source <(pix completions bash)   for this shell only";
