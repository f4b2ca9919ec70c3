//! Whatever the types can hold goes out and comes back, both ways; and whatever comes in, both ways say the same.

use std::borrow::Cow;

use pix_dict_api::{
    Account, AccountText, CheckKeys, CheckKeysResponse, CorrelationId, CreateEntry, DeleteEntry,
    DeleteEntryResponse, Entry, EntryResponse, EntryRoot, EntryText, FraudMarkerStatistics,
    GetEntryStatisticsResponse, GetPolicyResponse, Head, InfractionReportStatistics, KeyEntries,
    KeyStatistics, ListPoliciesResponse, Operation, Owner, OwnerText, Path, PersonEntries, PersonStatistics,
    PolicyState, Problem, ProblemKind, Request, Response, SpiStatistics, Statistics, Unreadable, UpdateEntry,
    Violation, Windowed, open_problem, open_request_fast, open_request_generic, open_response_fast,
    open_response_generic, parse_unsigned, seal_problem, seal_request, seal_response, write_unsigned,
};
use pix_domain::{AccountNumber, AccountType, Branch, Category, Ispb, Key, KeyType, TaxId, Text, Timestamp};
use pix_xmldsig::{digest, sign_enveloped};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{KEY_INFO_ID, bank, notice, requests, responses, sealed, sealed_response};

/// Any text that XML can carry.
fn text() -> impl Strategy<Value = String> {
    let strange = prop_oneof![
        4 => proptest::char::range(' ', '~'),
        1 => select(vec!['&', '<', '>', '"', '\'', '\r', '\n', '\t', ' ', ']']),
        1 => select(vec!['ç', '\u{85}', '\u{a0}', '\u{2028}', '\u{d7ff}', '\u{e000}', '\u{fffd}', '\u{10348}', '\u{10ffff}']),
    ];
    vec(strange, 0..40).prop_map(|chars| chars.into_iter().collect())
}

fn account_text() -> impl Strategy<Value = AccountText> {
    (text(), of(text()), text(), text(), text()).prop_map(|(participant, branch, number, kind, opened_at)| {
        AccountText {
            participant,
            branch,
            number,
            kind,
            opened_at,
        }
    })
}

fn owner_text() -> impl Strategy<Value = OwnerText> {
    (text(), text(), text(), of(text())).prop_map(|(person_type, tax_id, name, trade_name)| OwnerText {
        person_type,
        tax_id,
        name,
        trade_name,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let create = (of(text()), text(), account_text(), owner_text(), text(), text()).prop_map(
        |(key, key_type, account, owner, reason, request_id)| {
            Request::CreateEntry(CreateEntry {
                entry: EntryText {
                    key,
                    key_type,
                    account,
                    owner,
                },
                reason,
                request_id,
            })
        },
    );
    let update =
        (text(), of(account_text()), of(owner_text()), text()).prop_map(|(key, account, owner, reason)| {
            Request::UpdateEntry(UpdateEntry {
                key,
                account,
                owner,
                reason,
            })
        });
    let delete = (text(), text(), text()).prop_map(|(key, participant, reason)| {
        Request::DeleteEntry(DeleteEntry {
            key,
            participant,
            reason,
        })
    });
    let check = vec(text(), 1..=200).prop_map(|keys| Request::CheckKeys(CheckKeys { keys }));
    prop_oneof![create, update, delete, check]
}

fn time() -> impl Strategy<Value = Timestamp> {
    // Years 0001 to 9999, milliseconds.
    (-62_135_596_800_000_i64..253_402_300_800_000).prop_map(|ms| Timestamp::from_micros(ms * 1000))
}

fn head() -> impl Strategy<Value = Head> {
    (time(), any::<u128>()).prop_map(|(at, id)| Head {
        at,
        correlation_id: CorrelationId::new(id),
    })
}

fn key() -> impl Strategy<Value = Key> {
    let of_kind = |kind: KeyType, pattern: &'static str| {
        proptest::string::string_regex(pattern)
            .expect("a pattern")
            .prop_map(move |text| Key::parse(kind, &text).expect("fits"))
    };
    prop_oneof![
        of_kind(KeyType::Cpf, "[0-9]{11}"),
        of_kind(KeyType::Cnpj, "[0-9A-Za-z]{14}"),
        of_kind(KeyType::Phone, r"\+[1-9][0-9]{1,14}"),
        of_kind(
            KeyType::Email,
            r"[a-z0-9.!#$'*+/=?^_`{|}~-]{1,20}@[a-z0-9]{1,10}\.[a-z0-9][a-z0-9-]{0,5}[a-z0-9]"
        ),
        any::<u128>().prop_map(Key::random),
    ]
}

fn account() -> impl Strategy<Value = Account> {
    use AccountType::{Current, Salary, Savings, Transacting};
    (
        "[0-9A-Z]{8}",
        of("[0-9]{1,4}"),
        "[0-9A-Z]{1,20}",
        select(vec![Current, Savings, Transacting, Salary]),
        time(),
    )
        .prop_map(|(participant, branch, number, kind, opened_at)| Account {
            participant: Ispb::parse(participant.as_bytes()).expect("fits"),
            branch: branch.map(|branch| Branch::parse(branch.as_bytes()).expect("fits")),
            number: AccountNumber::parse(number.as_bytes()).expect("fits"),
            kind,
            opened_at,
        })
}

fn owner() -> impl Strategy<Value = Owner> {
    let person = ("[0-9]{11}", "[A-Za-zÀ-ÖØ-öø-ÿ' -]{1,150}", Just(None));
    let company = (
        "[0-9A-Z]{12}[0-9]{2}",
        "[\u{20}-\u{7E}\u{A1}-\u{FF}]{1,150}",
        of("[\u{20}-\u{7E}\u{A1}-\u{FF}]{1,100}"),
    );
    prop_oneof![person, company].prop_map(|(tax_id, name, trade_name)| Owner {
        tax_id: TaxId::parse(tax_id.as_bytes()).expect("fits"),
        name: Text::parse(&name).expect("fits"),
        trade_name: trade_name.map(|name: String| Text::parse(&name).expect("fits")),
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    (key(), account(), owner(), time(), time(), of(time())).prop_map(
        |(key, account, owner, created_at, owned_since, claim_opened_at)| Entry {
            key,
            account,
            owner,
            created_at,
            owned_since,
            claim_opened_at,
        },
    )
}

fn windowed() -> impl Strategy<Value = Windowed> {
    any::<[u64; 3]>().prop_map(|[d90, m12, m60]| Windowed { d90, m12, m60 })
}

fn spi() -> impl Strategy<Value = SpiStatistics> {
    (time(), windowed()).prop_map(|(watermark, settlements)| SpiStatistics {
        watermark,
        settlements,
    })
}

fn fraud_markers() -> impl Strategy<Value = FraudMarkerStatistics> {
    (time(), vec(windowed(), 7)).prop_map(|(watermark, all)| FraudMarkerStatistics {
        watermark,
        application_frauds: all[0],
        mule_accounts: all[1],
        scammer_accounts: all[2],
        other_frauds: all[3],
        unknown_frauds: all[4],
        total_fraud_transaction_amount: all[5],
        distinct_fraud_reporters: all[6],
    })
}

fn infraction_reports() -> impl Strategy<Value = InfractionReportStatistics> {
    (time(), any::<[u64; 2]>(), windowed()).prop_map(|(watermark, [open, reporters], rejected_reports)| {
        InfractionReportStatistics {
            watermark,
            open_reports: open,
            open_reports_distinct_reporters: reporters,
            rejected_reports,
        }
    })
}

fn statistics() -> impl Strategy<Value = Statistics> {
    let groups = || (spi(), fraud_markers(), infraction_reports(), time());
    let owner = (groups(), any::<u64>()).prop_map(
        |((spi, fraud_markers, infraction_reports, watermark), registered_accounts)| PersonStatistics {
            spi,
            fraud_markers,
            infraction_reports,
            entries: PersonEntries {
                watermark,
                registered_accounts,
            },
        },
    );
    let key = (groups(), windowed()).prop_map(
        |((spi, fraud_markers, infraction_reports, watermark), distinct_accounts)| KeyStatistics {
            spi,
            fraud_markers,
            infraction_reports,
            entries: KeyEntries {
                watermark,
                distinct_accounts,
            },
        },
    );
    (owner, key).prop_map(|(owner, key)| Statistics { owner, key })
}

fn policy() -> impl Strategy<Value = PolicyState> {
    (text(), any::<[i64; 4]>()).prop_map(|(name, [available, capacity, refill_tokens, refill_period_s])| {
        PolicyState {
            name,
            available,
            capacity,
            refill_tokens,
            refill_period_s,
        }
    })
}

fn response() -> impl Strategy<Value = Response<'static>> {
    let roots = select(vec![EntryRoot::Create, EntryRoot::Get, EntryRoot::Update]);
    let entry = (roots, head(), entry(), of(statistics())).prop_map(|(root, head, entry, statistics)| {
        Response::Entry(EntryResponse {
            root,
            head,
            entry: Cow::Owned(entry),
            statistics: statistics.filter(|_| root == EntryRoot::Get).map(Cow::Owned),
        })
    });
    let delete = (head(), key()).prop_map(|(head, key)| {
        Response::DeleteEntry(DeleteEntryResponse {
            head,
            key: Cow::Owned(key),
        })
    });
    let check = (head(), vec((text(), any::<bool>()), 0..=200))
        .prop_map(|(head, keys)| Response::CheckKeys(CheckKeysResponse { head, keys }));
    let category = || select(Category::ALL.to_vec());
    let list = (head(), category(), vec(policy(), 0..30)).prop_map(|(head, category, policies)| {
        Response::ListPolicies(ListPoliciesResponse {
            head,
            category,
            policies,
        })
    });
    let get = (head(), category(), policy()).prop_map(|(head, category, policy)| {
        Response::GetPolicy(GetPolicyResponse {
            head,
            category,
            policy,
        })
    });
    let of_key = (head(), key(), statistics()).prop_map(|(head, key, statistics)| {
        Response::GetEntryStatistics(GetEntryStatisticsResponse {
            head,
            key: Cow::Owned(key),
            statistics: Cow::Owned(statistics),
        })
    });
    prop_oneof![3 => entry, 1 => delete, 1 => check, 1 => list, 1 => get, 1 => of_key]
}

fn problem() -> impl Strategy<Value = Problem> {
    let violation = (text(), of(text()), of(text())).prop_map(|(reason, value, property)| Violation {
        reason,
        value,
        property,
    });
    (
        select(ProblemKind::ALL.to_vec()),
        text(),
        400..600_u16,
        text(),
        of(any::<u128>()),
        vec(violation, 0..5),
    )
        .prop_map(|(kind, title, status, detail, id, violations)| Problem {
            kind,
            title,
            status,
            detail,
            correlation_id: id.map(CorrelationId::new),
            violations,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_go_out_and_come_back(request in request()) {
        let operation = request.operation();
        let message = seal_request(&request, &bank().signer, KEY_INFO_ID);
        let fast = open_request_fast(&message, operation, &bank().key).expect("our own is canonical");
        let generic = open_request_generic(&message, operation, &bank().key).expect("true");
        prop_assert_eq!(&fast.request, &request);
        prop_assert_eq!(&generic.request, &request);
        prop_assert_eq!((fast.path, generic.path), (Path::Fast, Path::Generic));
        prop_assert_eq!(parse_unsigned(&write_unsigned(&request), operation), Ok(request));
        for other in Operation::ALL.into_iter().filter(|other| *other != operation) {
            prop_assert!(open_request_fast(&message, other, &bank().key).is_none());
            prop_assert!(open_request_generic(&message, other, &bank().key).is_err());
        }
    }

    #[test]
    fn answers_go_out_and_come_back(response in response()) {
        let message = seal_response(&response, &bank().signer, KEY_INFO_ID);
        let fast = open_response_fast(&message, &bank().key).expect("our own is canonical");
        let generic = open_response_generic(&message, &bank().key).expect("true");
        prop_assert_eq!(&fast.response, &response);
        prop_assert_eq!(&generic.response, &response);
    }

    #[test]
    fn problems_go_out_and_come_back(problem in problem()) {
        let message = seal_problem(&problem, &bank().signer, KEY_INFO_ID);
        let opened = open_problem(&message, &bank().key).expect("true");
        prop_assert_eq!((opened.problem, opened.path), (problem, Path::Fast));
    }

    #[test]
    fn entries_check_to_what_they_were(entry in entry()) {
        let mut text = EntryText::from(&entry);
        prop_assert_eq!(text.account.check(), Ok(entry.account.clone()));
        prop_assert_eq!(text.owner.check(), Ok(entry.owner.clone()));
        if entry.key.kind() == KeyType::Evp {
            text.key = None;
        }
        if let Ok(checked) = text.check() {
            prop_assert_eq!((checked.account, checked.owner), (entry.account, entry.owner));
        } else {
            prop_assert!(!entry.key.has_valid_check_digits());
        }
    }
}

/// A generator whose every step follows from its seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(n).expect("small")).expect("below n")
    }
}

/// One or two small changes, of the kind that tells readers of XML apart.
fn mutated(message: &str, chance: &mut Chance) -> Vec<u8> {
    const PIECES: [&str; 14] = [
        " ", "\n", "\r", "\t", "<a></a>", "<a/>", "&#65;", "&amp;", "&quot;", "<!-- -->", "]]>", "x",
        "\u{0}", "é",
    ];
    let mut bytes = message.as_bytes().to_vec();
    for _ in 0..=chance.below(2) {
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => {
                bytes.remove(at);
            }
            2 => {
                let end = (at + chance.below(60)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                // Behind a tag, where white space and elements might pass.
                let at = bytes[at..]
                    .iter()
                    .position(|b| *b == b'>')
                    .map_or(at, |i| at + i + 1);
                let piece = PIECES[chance.below(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

/// The seed of a run: given, or of the environment, so that a failure can be had again.
fn chance() -> Chance {
    let given = std::env::var("PIX_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    notice(&format!("PIX_TEST_SEED={seed}"));
    Chance(seed)
}

/// `bare` with a signature over its bytes as they stand behind its first tag: true exactly when they are canonical.
fn signed_as_it_stands(bare: &[u8]) -> Vec<u8> {
    let signature = sign_enveloped(&bank().signer, KEY_INFO_ID, &digest(&[bare]));
    let inside = bare.iter().position(|b| *b == b'>').map_or(0, |at| at + 1);
    [&bare[..inside], signature.as_bytes(), &bare[inside..]].concat()
}

/// Changed after they were signed, and signed after they were changed: the first is refused by the digest nearly
/// always, the second only by what it is.
#[test]
fn what_the_fast_path_takes_the_generic_path_takes_alike() {
    let mut chance = chance();
    let (mut changed, mut taken) = (0, 0);
    let mut compare = |message: &str, both: &dyn Fn(&[u8]) -> bool| {
        let start = message.find("<ds:Signature ").expect("signed");
        let end = message.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
        let bare = format!("{}{}", &message[..start], &message[end..]);
        for _ in 0..200 {
            taken += usize::from(both(&mutated(message, &mut chance)));
            taken += usize::from(both(&signed_as_it_stands(&mutated(&bare, &mut chance))));
            changed += 2;
        }
    };
    for (name, request) in requests() {
        let operation = request.operation();
        compare(&sealed(&request), &|bytes| {
            let fast = open_request_fast(bytes, operation, &bank().key).map(|o| (o.request, o.signer));
            let generic = open_request_generic(bytes, operation, &bank().key).map(|o| (o.request, o.signer));
            alike(name, bytes, fast, generic)
        });
    }
    for (name, response) in responses() {
        compare(&sealed_response(&response), &|bytes| {
            let fast = open_response_fast(bytes, &bank().key).map(|o| (o.response, o.signer));
            let generic = open_response_generic(bytes, &bank().key).map(|o| (o.response, o.signer));
            alike(name, bytes, fast, generic)
        });
    }
    notice(&format!(
        "the fast path took {taken} of {changed} changed messages, the generic one the same"
    ));
    assert!(taken > 100, "only {taken}: the changes are too rough");
}

/// Whether the fast path took `bytes`, when the generic one agrees.
fn alike<T: PartialEq + std::fmt::Debug>(
    name: &str,
    bytes: &[u8],
    fast: Option<T>,
    generic: Result<T, Unreadable>,
) -> bool {
    let Some(fast) = fast else { return false };
    assert_eq!(Ok(fast), generic, "{name}: {}", String::from_utf8_lossy(bytes));
    true
}
