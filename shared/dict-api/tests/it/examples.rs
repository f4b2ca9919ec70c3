//! The official examples of version 2.6.1: requests signed anew, because they are published with an empty Signature,
//! and answers as they are.

use std::path::Path as FilePath;

use pix_dict_api::{
    CorrelationId, EntryRoot, Operation, Path, ProblemKind, Request, Response, Unreadable, Windowed,
    open_request, parse_problem, parse_unsigned, parse_unsigned_response,
};
use pix_xmldsig::SignatureError;

use crate::foreign::{sign, template};
use crate::support::{bank, spec};

fn example(spec: &FilePath, name: &str) -> String {
    let file = spec.join("dict/examples-2.6.1").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The example with a signature where its empty one is, or as it is when it has none.
fn signed(example: &str) -> String {
    sign(&example.replace("<Signature></Signature>", &template()))
}

#[test]
fn requests_are_accepted() {
    let Some(spec) = spec() else { return };
    for (name, operation) in [
        ("createEntry.request.example.xml", Operation::CreateEntry),
        ("updateEntry.request.example.xml", Operation::UpdateEntry),
        ("deleteEntry.request.example.xml", Operation::DeleteEntry),
    ] {
        let example = example(&spec, name);
        let missing = Unreadable::Signature(SignatureError::Missing);
        assert_eq!(
            parse_unsigned(example.as_bytes(), operation),
            Err(missing.clone()),
            "{name}"
        );
        assert_eq!(
            open_request(example.as_bytes(), operation, &bank().key).map(|_| ()),
            Err(missing),
            "{name}"
        );
        let signed = signed(&example);
        let opened = open_request(signed.as_bytes(), operation, &bank().key).expect(name);
        assert_eq!(
            (opened.request.operation(), opened.path),
            (operation, Path::Generic)
        );
        let bare = example.replace("<Signature></Signature>", "");
        assert_eq!(
            parse_unsigned(bare.as_bytes(), operation),
            Ok(opened.request.clone())
        );
        match opened.request {
            Request::CreateEntry(create) => {
                let entry = create.entry.check().expect("the official entry is valid");
                assert_eq!(entry.key.expect("a phone").as_str(), "+5561988880000");
                assert_eq!(entry.owner.name.as_str(), "João Silva");
                assert_eq!(entry.account.opened_at.to_string(), "2010-01-10T03:00:00.000Z");
                pix_dict_api::check_request_id(&create.request_id).expect("a UUID");
            }
            Request::UpdateEntry(update) => {
                update.account.expect("there").check().expect("valid");
                update.owner.expect("there").check().expect("valid");
                assert_eq!(update.reason, "USER_REQUESTED");
            }
            Request::DeleteEntry(delete) => {
                assert_eq!(delete.participant, "12345678");
                assert_eq!(delete.reason, "ACCOUNT_CLOSURE");
            }
            Request::CheckKeys(_) => panic!("{name} is no checkKeys"),
        }
    }
    let keys = example(&spec, "checkKeys.request.example.xml");
    let Ok(Request::CheckKeys(check)) = parse_unsigned(keys.as_bytes(), Operation::CheckKeys) else {
        panic!("checkKeys is accepted without a signature");
    };
    assert_eq!(check.keys.len(), 6);
    assert_eq!(check.keys[5], "99999999999999");
}

#[test]
fn answers_are_read() {
    let Some(spec) = spec() else { return };
    let read = |name: &str| {
        parse_unsigned_response(example(&spec, name).as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    for (name, root, statistics, claimed) in [
        ("createEntry.201.example.xml", EntryRoot::Create, false, false),
        ("getEntry.200.entry.xml", EntryRoot::Get, false, true),
        (
            "getEntry.200.entry-include-statistics.xml",
            EntryRoot::Get,
            true,
            true,
        ),
        ("updateEntry.200.example.xml", EntryRoot::Update, false, false),
    ] {
        let Response::Entry(response) = read(name) else {
            panic!("{name} is an entry");
        };
        assert_eq!(
            (response.root, response.statistics.is_some()),
            (root, statistics),
            "{name}"
        );
        assert_eq!(response.entry.key.as_str(), "11122233300");
        assert_eq!(response.entry.owned_since.to_string(), "2019-11-18T03:00:00.000Z");
        assert_eq!(response.entry.claim_opened_at.is_some(), claimed, "{name}");
    }
    let Response::DeleteEntry(deleted) = read("deleteEntry.200.example.xml") else {
        panic!("a DeleteEntryResponse");
    };
    assert_eq!(deleted.key.as_str(), "+5561988887777");
    let Response::CheckKeys(checked) = read("checkKeys.200.example.xml") else {
        panic!("a CheckKeysResponse");
    };
    let has_entry: Vec<bool> = checked.keys.iter().map(|(_, has)| *has).collect();
    assert_eq!(has_entry, [true, false, true, false, false, true]);
    // Their CorrelationId comes before their ResponseTime, against the schema.
    let Response::ListPolicies(list) = read("bucketStates.200.example.xml") else {
        panic!("a ListPoliciesResponse");
    };
    assert_eq!(list.policies.len(), 1);
    assert_eq!(
        Ok(list.head.correlation_id),
        CorrelationId::parse("b20220902101925801123456781a6998")
    );
    let Response::GetPolicy(policy) = read("getPolicy.200.example.xml") else {
        panic!("a GetPolicyResponse");
    };
    assert_eq!(policy.policy.name, "ENTRIES_READ_PARTICIPANT_ANTISCAN");
    let Response::GetEntryStatistics(statistics) = read("getEntryStatistics.200.example.xml") else {
        panic!("a GetEntryStatisticsResponse");
    };
    assert_eq!(statistics.statistics.key.spi.settlements, Windowed::default());
}

/// The problems in the document's own `components/responses`.
#[test]
fn problems_are_read() {
    let Some(spec) = spec() else { return };
    let file = std::fs::read(spec.join("dict/openapi-2.6.1.json")).expect("the document");
    let document: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    let mut examples = Vec::new();
    find_problems(&document, &mut examples);
    let mut ours = 0;
    for example in &examples {
        let problem = parse_problem(example.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{example}"));
        assert!((400..600).contains(&problem.status), "{example}");
        if example.contains("/EntryInvalid<") {
            assert_eq!(
                (problem.kind, problem.violations.is_empty()),
                (ProblemKind::EntryInvalid, false)
            );
        }
        if example.contains(&format!("/{}<", problem.kind.as_str())) {
            assert_eq!(
                (problem.title.as_str(), problem.status),
                (problem.kind.title(), problem.kind.status())
            );
            ours += 1;
        }
    }
    assert!(ours >= 6, "only {ours} of {}", examples.len());
}

fn find_problems<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) if text.contains("<problem ") => found.push(text.trim()),
        serde_json::Value::Array(all) => all.iter().for_each(|value| find_problems(value, found)),
        serde_json::Value::Object(all) => all.values().for_each(|value| find_problems(value, found)),
        _ => {}
    }
}
