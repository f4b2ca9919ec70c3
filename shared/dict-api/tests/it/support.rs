//! Keys and messages of a fictional bank and a fictional DICT.

use std::borrow::Cow;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use pix_dict_api::{
    AccountText, CheckKeys, CheckKeysResponse, CorrelationId, CreateEntry, DeleteEntry, DeleteEntryResponse,
    Entry, EntryResponse, EntryRoot, EntryText, FraudMarkerStatistics, GetEntryStatisticsResponse,
    GetPolicyResponse, Head, InfractionReportStatistics, KeyEntries, KeyStatistics, ListPoliciesResponse,
    OwnerText, PersonEntries, PersonStatistics, PolicyState, Problem, ProblemKind, Request, Response,
    SpiStatistics, Statistics, UpdateEntry, Violation, Windowed, seal_request, seal_response,
};
use pix_domain::{Category, Key, Timestamp};
use pix_pki::{Authority, Identity, Subject, Use, Validity};
use pix_xmldsig::{Signer, VerifyingKey};

pub(crate) const KEY_INFO_ID: &str = "key-info-id";

pub(crate) struct Bank {
    pub(crate) identity: Identity,
    pub(crate) signer: Signer,
    pub(crate) key: VerifyingKey,
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text.as_bytes()).expect("a time")
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-21T12:00:00.000Z")
}

fn new_bank(name: &str) -> Bank {
    let authority = Authority::new("AC de teste, \"raiz\"", Validity::long(now())).expect("an authority");
    let subject = Subject {
        common_name: name.to_owned(),
        ispb: None,
    };
    let identity = authority
        .issue(&subject, Use::Signature, Validity::long(now()))
        .expect("a certificate");
    let signer = Signer::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes());
    let key = VerifyingKey::from_certificate_pem(identity.certificate_pem.as_bytes());
    Bank {
        signer: signer.expect("the key fits"),
        key: key.expect("RSA"),
        identity,
    }
}

pub(crate) fn bank() -> &'static Bank {
    static BANK: OnceLock<Bank> = OnceLock::new();
    BANK.get_or_init(|| new_bank("Banco Aurora"))
}

pub(crate) fn stranger() -> &'static Bank {
    static STRANGER: OnceLock<Bank> = OnceLock::new();
    STRANGER.get_or_init(|| new_bank("Ninguém"))
}

pub(crate) fn account() -> AccountText {
    AccountText {
        participant: "12345678".to_owned(),
        branch: Some("0001".to_owned()),
        number: "0007654321".to_owned(),
        kind: "CACC".to_owned(),
        opened_at: "2010-01-10T03:00:00.000Z".to_owned(),
    }
}

pub(crate) fn person() -> OwnerText {
    OwnerText {
        person_type: "NATURAL_PERSON".to_owned(),
        tax_id: "11122233300".to_owned(),
        name: "João d'Ávila-Silva".to_owned(),
        trade_name: None,
    }
}

pub(crate) fn company() -> OwnerText {
    OwnerText {
        person_type: "LEGAL_PERSON".to_owned(),
        tax_id: "12ABC34501DE35".to_owned(),
        name: "Padaria \"Três\" Irmãos & Cia <Ltda>".to_owned(),
        trade_name: Some("Padaria 3 Irmãos".to_owned()),
    }
}

pub(crate) fn entry_text() -> EntryText {
    EntryText {
        key: Some("+5561988880000".to_owned()),
        key_type: "PHONE".to_owned(),
        account: account(),
        owner: person(),
    }
}

pub(crate) fn create() -> Request {
    Request::CreateEntry(CreateEntry {
        entry: entry_text(),
        reason: "USER_REQUESTED".to_owned(),
        request_id: "a946d533-7f22-42a5-9a9b-e87cd55c0f4d".to_owned(),
    })
}

/// One of each request, and those with what is optional there or missing.
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let mut random = entry_text();
    (random.key, random.key_type, random.owner) = (None, "EVP".to_owned(), company());
    random.account.branch = None;
    vec![
        ("create_phone", create()),
        (
            "create_evp",
            Request::CreateEntry(CreateEntry {
                entry: random,
                reason: "USER_REQUESTED".to_owned(),
                request_id: "0b5f1a36-9a6b-4a3f-8d1e-3a1f6f0d2c11".to_owned(),
            }),
        ),
        (
            "update",
            Request::UpdateEntry(UpdateEntry {
                key: "+5561988887777".to_owned(),
                account: Some(account()),
                owner: Some(company()),
                reason: "BRANCH_TRANSFER".to_owned(),
            }),
        ),
        (
            "update_nothing",
            Request::UpdateEntry(UpdateEntry {
                key: "+5561988887777".to_owned(),
                account: None,
                owner: None,
                reason: "USER_REQUESTED".to_owned(),
            }),
        ),
        (
            "delete",
            Request::DeleteEntry(DeleteEntry {
                key: "a&b@example.com".to_owned(),
                participant: "12345678".to_owned(),
                reason: "ACCOUNT_CLOSURE".to_owned(),
            }),
        ),
        (
            "check_keys",
            Request::CheckKeys(CheckKeys {
                keys: vec!["mail@mail.com".to_owned(), "<>&".to_owned(), String::new()],
            }),
        ),
    ]
}

pub(crate) fn entry() -> Entry {
    let new = entry_text().check().expect("valid");
    Entry {
        key: new.key.expect("a phone"),
        account: new.account,
        owner: new.owner,
        created_at: at("2019-11-18T03:00:00.000Z"),
        owned_since: at("2018-11-18T03:00:00.001Z"),
        claim_opened_at: None,
    }
}

pub(crate) fn statistics() -> Statistics {
    let windowed = |n| Windowed {
        d90: n,
        m12: n + 1,
        m60: n + 2,
    };
    let spi = |n| SpiStatistics {
        watermark: now(),
        settlements: windowed(n),
    };
    let markers = FraudMarkerStatistics {
        mule_accounts: windowed(7),
        total_fraud_transaction_amount: windowed(123_456),
        ..FraudMarkerStatistics::none(now())
    };
    Statistics {
        owner: PersonStatistics {
            spi: spi(10),
            fraud_markers: markers,
            infraction_reports: InfractionReportStatistics {
                open_reports: 2,
                ..InfractionReportStatistics::none(now())
            },
            entries: PersonEntries {
                watermark: now(),
                registered_accounts: 3,
            },
        },
        key: KeyStatistics {
            spi: spi(20),
            fraud_markers: FraudMarkerStatistics::none(now()),
            infraction_reports: InfractionReportStatistics::none(now()),
            entries: KeyEntries {
                watermark: now(),
                distinct_accounts: windowed(1),
            },
        },
    }
}

fn head() -> Head {
    Head {
        at: now(),
        correlation_id: CorrelationId::parse("a9f13566e19f5ca51329479a5bae60c5").expect("hexadecimal"),
    }
}

fn policy(name: &str, available: i64) -> PolicyState {
    PolicyState {
        name: name.to_owned(),
        available,
        capacity: 36_000,
        refill_tokens: 1_200,
        refill_period_s: 60,
    }
}

fn entry_response(
    root: EntryRoot,
    entry: Entry,
    statistics: Option<Cow<'static, Statistics>>,
) -> Response<'static> {
    Response::Entry(EntryResponse {
        root,
        head: head(),
        entry: Cow::Owned(entry),
        statistics,
    })
}

pub(crate) fn get_entry() -> Response<'static> {
    entry_response(EntryRoot::Get, entry(), None)
}

/// One of each answer.
pub(crate) fn responses() -> Vec<(&'static str, Response<'static>)> {
    let mut claimed = entry();
    claimed.owner = company().check().expect("valid");
    claimed.claim_opened_at = Some(now());
    claimed.account.branch = None;
    let key = || Cow::Owned(Key::guess("a'b@example.com").expect("an e-mail"));
    vec![
        ("created", entry_response(EntryRoot::Create, entry(), None)),
        ("got", get_entry()),
        (
            "got_with_statistics",
            entry_response(EntryRoot::Get, claimed, Some(Cow::Owned(statistics()))),
        ),
        ("updated", entry_response(EntryRoot::Update, entry(), None)),
        (
            "deleted",
            Response::DeleteEntry(DeleteEntryResponse {
                head: head(),
                key: key(),
            }),
        ),
        (
            "checked",
            Response::CheckKeys(CheckKeysResponse {
                head: head(),
                keys: vec![("mail@mail.com".to_owned(), true), ("<>&".to_owned(), false)],
            }),
        ),
        (
            "policies",
            Response::ListPolicies(ListPoliciesResponse {
                head: head(),
                category: Category::A,
                policies: vec![
                    policy("ENTRIES_WRITE", 35_999),
                    policy("ENTRIES_READ_PARTICIPANT_ANTISCAN", -3),
                ],
            }),
        ),
        (
            "policy",
            Response::GetPolicy(GetPolicyResponse {
                head: head(),
                category: Category::H,
                policy: policy("ENTRIES_WRITE", 0),
            }),
        ),
        (
            "statistics",
            Response::GetEntryStatistics(GetEntryStatisticsResponse {
                head: head(),
                key: key(),
                statistics: Cow::Owned(statistics()),
            }),
        ),
    ]
}

pub(crate) fn problems() -> Vec<(&'static str, Problem)> {
    let mut invalid = Problem::new(ProblemKind::EntryInvalid, "Entry has invalid fields");
    invalid.correlation_id = Some(head().correlation_id);
    invalid.violations = vec![
        Violation {
            reason: "Value does not match regex '^[0-9]{1,4}$'".to_owned(),
            value: Some("<1&".to_owned()),
            property: Some("entry.account.branch".to_owned()),
        },
        Violation {
            reason: "Value is missing".to_owned(),
            value: None,
            property: None,
        },
    ];
    vec![
        ("entry_invalid", invalid),
        (
            "not_found",
            Problem::new(
                ProblemKind::NotFound,
                "Entry associated with given key does not exist",
            ),
        ),
        ("rate_limited", Problem::new(ProblemKind::RateLimited, "")),
    ]
}

pub(crate) fn sealed(request: &Request) -> String {
    let bytes = seal_request(request, &bank().signer, KEY_INFO_ID);
    String::from_utf8(bytes).expect("XML is UTF-8")
}

pub(crate) fn sealed_response(response: &Response<'_>) -> String {
    let bytes = seal_response(response, &bank().signer, KEY_INFO_ID);
    String::from_utf8(bytes).expect("XML is UTF-8")
}

/// The folder of official files, or a notice that the test was skipped.
pub(crate) fn spec() -> Option<PathBuf> {
    let dir = std::env::var_os("PIX_SPEC_DIR").map(PathBuf::from);
    if dir.is_none() {
        notice("skipped: PIX_SPEC_DIR is not set");
    }
    dir
}

/// Whether the program of a Debian package is here, or a notice that the test was skipped.
pub(crate) fn tool(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        notice(&format!(
            "skipped: {program} is not installed (Debian package {package})"
        ));
    }
    found
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped test, and the seed of one that was not, must be seen"
)]
pub(crate) fn notice(line: &str) {
    eprintln!("{line}");
}

/// Standard output of a program that must succeed.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    assert!(
        status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    stdout
}
