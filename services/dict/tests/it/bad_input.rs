//! What no participant should send: each gets a clear problem, nothing is stored, and the next request is answered.

use http::Method;
use pix_dict_api::{CreateEntry, ProblemKind, Request, UpdateEntry};
use pix_domain::EndToEndId;

use crate::support::{A, Bank, PAYER, REQUESTING, TestDict, XML, now, properties};

/// One field wrong, and the property that the violation names.
type Wrong = (&'static str, fn(&mut CreateEntry));

const FIELDS: &[Wrong] = &[
    ("entry.key", |c| c.entry.key = Some("61988887777".into())),
    ("entry.key", |c| c.entry.key = None),
    ("entry.key", |c| {
        c.entry.key_type = "CPF".into();
        c.entry.key = Some("52998224726".into());
    }),
    ("entry.key", |c| {
        c.entry.key_type = "EMAIL".into();
        c.entry.key = Some("Upper@mail.com".into());
    }),
    ("entry.keyType", |c| c.entry.key_type = "FAX".into()),
    ("entry.account.participant", |c| {
        c.entry.account.participant = "1234567".into()
    }),
    ("entry.account.branch", |c| {
        c.entry.account.branch = Some("00001".into())
    }),
    ("entry.account.branch", |c| {
        c.entry.account.branch = Some("1a".into())
    }),
    ("entry.account.accountNumber", |c| {
        c.entry.account.number = "12-3".into()
    }),
    ("entry.account.accountNumber", |c| {
        c.entry.account.number = "1".repeat(21)
    }),
    ("entry.account.accountType", |c| {
        c.entry.account.kind = "OTHR".into()
    }),
    ("entry.account.openingDate", |c| {
        c.entry.account.opened_at = "2010-02-30T03:00:00Z".into()
    }),
    ("entry.account.openingDate", |c| {
        c.entry.account.opened_at = "2010-01-10".into()
    }),
    ("entry.owner.type", |c| {
        c.entry.owner.person_type = "PERSON".into()
    }),
    ("entry.owner.taxIdNumber", |c| {
        c.entry.owner.tax_id = "111.222.333-00".into()
    }),
    ("entry.owner.taxIdNumber", |c| {
        c.entry.owner.tax_id = "11222333000181".into()
    }),
    ("entry.owner.name", |c| c.entry.owner.name = "R2D2".into()),
    ("entry.owner.name", |c| c.entry.owner.name = "a".repeat(151)),
    ("entry.owner.tradeName", |c| {
        c.entry.owner.trade_name = Some("Loja".into())
    }),
    ("requestId", |c| c.request_id = "1".into()),
    ("requestId", |c| {
        c.request_id = "a946d533-7f22-12a5-9a9b-e87cd55c0f4d".into()
    }),
];

#[tokio::test]
async fn entry_invalid_names_each_field_that_is_wrong() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for (property, spoil) in FIELDS {
        let mut create = bank.new_phone();
        spoil(&mut create);
        let answer = bank.create(&create).await;
        let problem = bank.assert_refused(&answer, 400, ProblemKind::EntryInvalid);
        assert_eq!(properties(&problem.violations), [*property], "{problem:?}");
        assert!(!problem.violations[0].reason.is_empty());
    }
    // Several at once are told at once.
    let mut create = bank.new_phone();
    create.entry.account.branch = Some("x".into());
    create.entry.owner.name = "1".into();
    create.request_id = "x".into();
    let problem = bank.assert_refused(&bank.create(&create).await, 400, ProblemKind::EntryInvalid);
    let named = properties(&problem.violations);
    assert_eq!(named, ["entry.account.branch", "entry.owner.name", "requestId"]);
    assert_eq!(dict.everything().await, 0);
    assert_eq!(bank.create(&bank.new_phone()).await.status, 201);
    let log = dict.log();
    for personal in ["Silva", "52998224725", "+5561"] {
        assert!(!log.contains(personal), "{personal} is in the log");
    }
}

#[tokio::test]
async fn entry_invalid_names_the_fields_of_updates_and_deletes_too() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let create = bank.new_phone();
    assert_eq!(bank.create(&create).await.status, 201);
    let before = dict.everything().await;
    let sound = UpdateEntry {
        key: create.entry.key.clone().expect("a phone"),
        account: Some(create.entry.account.clone()),
        owner: Some(create.entry.owner.clone()),
        reason: "USER_REQUESTED".to_owned(),
    };
    let mut update = sound.clone();
    update.account.as_mut().expect("there").branch = Some("12345".into());
    update.owner.as_mut().expect("there").name = "R2D2".into();
    let problem = bank.assert_refused(&bank.update(&update).await, 400, ProblemKind::EntryInvalid);
    assert_eq!(properties(&problem.violations), ["account.branch", "owner.name"]);
    let mut delete = bank.delete_of(&sound.key);
    delete.participant = "1234567x".into();
    let problem = bank.assert_refused(&bank.delete_by(&delete).await, 400, ProblemKind::EntryInvalid);
    assert_eq!(properties(&problem.violations), ["participant"]);
    assert_eq!(dict.everything().await, before);
}

#[tokio::test]
async fn what_is_no_request_is_a_bad_request() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let sealed = String::from_utf8(bank.sealed_create(&bank.new_phone())).expect("UTF-8");
    let bodies = [
        ("nothing", String::new()),
        ("no XML", "key=1".to_owned()),
        ("half", sealed[..sealed.len() / 2].to_owned()),
        (
            "a namespace",
            sealed.replacen("<CreateEntryRequest", "<CreateEntryRequest xmlns=\"urn:x\"", 1),
        ),
        ("a DOCTYPE", format!("<!DOCTYPE x [<!ENTITY e \"x\">]>{sealed}")),
        (
            "another root",
            sealed.replace("CreateEntryRequest", "CreateEntryRequests"),
        ),
        (
            "another operation",
            String::from_utf8(bank.seal(Request::DeleteEntry(bank.delete_of("+5561988887777"))))
                .expect("UTF-8"),
        ),
    ];
    for (what, body) in bodies {
        let answer = bank.post("/api/v2/entries/", body.into_bytes()).await;
        let problem = bank.problem(&answer);
        let kinds = [ProblemKind::BadRequest, ProblemKind::RequestSignatureInvalid];
        assert!(
            kinds.contains(&problem.kind) && answer.status == 400,
            "{what}: {problem:?}"
        );
    }
    let mut latin = sealed.clone().into_bytes();
    let at = latin
        .windows(2)
        .position(|two| two == "ã".as_bytes())
        .expect("João");
    latin.splice(at..at + 2, [0xe3]);
    let answer = bank.post("/api/v2/entries/", latin).await;
    bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
    still_fine(&dict, &bank).await;
}

#[tokio::test]
async fn a_megabyte_is_not_read() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let body = vec![b'x'; 1024 * 1024];
    // The answer may come before the whole body was sent; then the connection may break instead.
    let answered = bank
        .try_send(Method::POST, &bank.api, "/api/v2/entries/", &[XML], body)
        .await;
    if let Ok(answer) = answered {
        bank.assert_refused(&answer, 413, ProblemKind::BadRequest);
    }
    let body = vec![b'x'; 70 * 1024];
    let answer = bank.post("/api/v2/entries/", body).await;
    bank.assert_refused(&answer, 413, ProblemKind::BadRequest);
    still_fine(&dict, &bank).await;
}

#[tokio::test]
async fn other_types_charsets_and_codings_are_not_taken() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let sealed = bank.sealed_create(&bank.new_phone());
    let latin = [("Content-Type", "application/xml; charset=iso-8859-1")];
    let json = [("Content-Type", "application/json")];
    let gzip = [XML, ("Content-Encoding", "gzip")];
    for headers in [&latin[..], &json[..], &gzip[..], &[]] {
        let path = "/api/v2/entries/";
        let answer = bank
            .send(Method::POST, &bank.api, path, headers, sealed.clone())
            .await;
        bank.assert_refused(&answer, 415, ProblemKind::BadRequest);
    }
    still_fine(&dict, &bank).await;
}

#[tokio::test]
async fn unknown_paths_and_methods_say_so() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for path in ["/", "/api/v1/entries/1", "/api/v2/nothing", "/api/v2/keys/check"] {
        let answer = bank.get_own(path).await;
        // `NotFound` would say that a key is nobody's.
        bank.assert_refused(&answer, 404, ProblemKind::BadRequest);
    }
    for (method, path, allow) in [
        (Method::DELETE, "/api/v2/entries/+5561988887777", "GET, PUT"),
        (Method::GET, "/api/v2/entries/", "POST"),
        (Method::PUT, "/api/v2/policies/", "GET"),
    ] {
        let answer = bank.send(method, &bank.api, path, &[XML], Vec::new()).await;
        bank.assert_refused(&answer, 405, ProblemKind::BadRequest);
        assert_eq!(answer.headers["allow"], allow);
    }
    still_fine(&dict, &bank).await;
}

#[tokio::test]
async fn headers_that_are_there_twice_are_a_bad_request() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let id = EndToEndId::new(bank.ispb, now(), bank.ids.u128()).to_string();
    let headers = [
        REQUESTING(&bank.ispb),
        ("PI-PayerId", PAYER),
        ("PI-EndToEndId", id.as_str()),
    ];
    for (name, value) in headers {
        let mut doubled = headers.to_vec();
        doubled.push((name, value));
        let answer = bank.get("/api/v2/entries/+5561988887777", &doubled).await;
        let problem = bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
        assert_eq!(properties(&problem.violations), [name]);
    }
}

#[tokio::test]
async fn keys_to_check_are_one_to_two_hundred() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    for count in [0, 1, 200, 201] {
        let keys: String = (0..count)
            .map(|number| format!("<Key>k{number}@mail.com</Key>"))
            .collect();
        let body = format!("<CheckKeysRequest><Keys>{keys}</Keys></CheckKeysRequest>");
        let answer = bank.check_keys(body.into_bytes()).await;
        if (1..=200).contains(&count) {
            bank.opened(&answer);
        } else {
            bank.assert_refused(&answer, 400, ProblemKind::BadRequest);
        }
    }
}

/// Nothing was stored, and the next request is answered.
async fn still_fine(dict: &TestDict, bank: &Bank) {
    assert_eq!(dict.everything().await, 0);
    assert_eq!(bank.create(&bank.new_phone()).await.status, 201);
}
