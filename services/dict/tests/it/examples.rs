//! The official example bodies, signed anew, are accepted, and answered with the elements of the official answers.

use std::path::PathBuf;

use http::Method;
use pix_dict_api::{Operation, ProblemKind};
use pix_dict_client::Failure;

use crate::support::{A, Answer, B, Bank, REQUESTING, TestDict, XML, on_path};

/// An official file; nothing when PIX_SPEC_DIR is not set.
fn official(name: &str) -> Option<String> {
    let spec = PathBuf::from(std::env::var_os("PIX_SPEC_DIR")?);
    let path = spec.join("dict/examples-2.6.1").join(name);
    let text = std::fs::read_to_string(&path);
    Some(text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// An official request, which a participant signs.
fn signed(bank: &Bank, operation: Operation, text: &str) -> Vec<u8> {
    let without = text.replace("<Signature></Signature>", "");
    let request = pix_dict_api::parse_unsigned(without.as_bytes(), operation).expect("an official request");
    bank.seal(request)
}

/// The names of the elements in the order in which they first appear, without the signature. Of time and id the
/// examples have both orders; the schema has the time first.
fn elements(xml: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for tag in xml.split('<').skip(1) {
        let name: String = tag
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == ':')
            .collect();
        let signature = name.is_empty() || name.starts_with("ds:") || name == "Signature";
        if !signature && !names.contains(&name) {
            names.push(name);
        }
    }
    if let [_, first, second, ..] = &mut names[..]
        && first == "CorrelationId"
        && second == "ResponseTime"
    {
        std::mem::swap(first, second);
    }
    names
}

#[track_caller]
fn assert_in_kind(answer: &Answer, official: &str) {
    let body = String::from_utf8_lossy(&answer.body);
    // Of claims, which are not built, and which few entries have.
    let official = official.replace(
        "<OpenClaimCreationDate>2019-11-19T03:00:00Z</OpenClaimCreationDate>",
        "",
    );
    assert_eq!(elements(&body), elements(&official));
}

#[tokio::test]
async fn the_official_bodies_are_accepted_and_answered_in_kind() {
    let Some(create) = official("createEntry.request.example.xml") else {
        return;
    };
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let read = |name: &str| official(name).expect("PIX_SPEC_DIR is set");

    let answer = a
        .post("/api/v2/entries/", signed(&a, Operation::CreateEntry, &create))
        .await;
    assert_eq!(answer.status, 201, "{:?}", a.problem(&answer));
    assert_eq!(a.entry_of(&answer).key.as_str(), "+5561988880000");
    assert_in_kind(&answer, &read("createEntry.201.example.xml"));

    // The examples of update and delete are of another key.
    let other = create.replace("+5561988880000", "+5561988887777").replace(
        "a946d533-7f22-42a5-9a9b-e87cd55c0f4d",
        "b946d533-7f22-42a5-9a9b-e87cd55c0f4d",
    );
    let answer = a
        .post("/api/v2/entries/", signed(&a, Operation::CreateEntry, &other))
        .await;
    assert_eq!(answer.status, 201);
    let update = signed(
        &a,
        Operation::UpdateEntry,
        &read("updateEntry.request.example.xml"),
    );
    let answer = a
        .send(
            Method::PUT,
            &a.api,
            "/api/v2/entries/%2B5561988887777",
            &[XML],
            update,
        )
        .await;
    assert_eq!(answer.status, 200);
    a.opened(&answer);
    assert_in_kind(&answer, &read("updateEntry.200.example.xml"));

    let answer = b.look_up("+5561988887777").await;
    b.opened(&answer);
    assert_in_kind(&answer, &read("getEntry.200.entry.xml"));
    let answer = b.look_up("%2B5561988887777?IncludeStatistics=true").await;
    b.opened(&answer);
    assert_in_kind(&answer, &read("getEntry.200.entry-include-statistics.xml"));
    let answer = b.get_own("/api/v2/entries/+5561988887777/statistics").await;
    b.opened(&answer);
    assert_in_kind(&answer, &read("getEntryStatistics.200.example.xml"));

    let delete = signed(
        &a,
        Operation::DeleteEntry,
        &read("deleteEntry.request.example.xml"),
    );
    let answer = a.post("/api/v2/entries/+5561988887777/delete", delete).await;
    assert_eq!(answer.status, 200);
    a.opened(&answer);
    assert_in_kind(&answer, &read("deleteEntry.200.example.xml"));

    let answer = a
        .check_keys(read("checkKeys.request.example.xml").into_bytes())
        .await;
    a.opened(&answer);
    assert_in_kind(&answer, &read("checkKeys.200.example.xml"));

    let answer = a.get("/api/v2/policies/", &[REQUESTING(&a.ispb)]).await;
    a.opened(&answer);
    assert_in_kind(&answer, &read("bucketStates.200.example.xml"));
    let answer = a.get_own("/api/v2/policies/ENTRIES_WRITE").await;
    a.opened(&answer);
    assert_in_kind(&answer, &read("getPolicy.200.example.xml"));
}

#[tokio::test]
async fn every_kind_of_key_is_registered_and_looked_up() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let mut company = a.entry("CNPJ", Some("12abc34501de35"));
    company.owner.person_type = "LEGAL_PERSON".to_owned();
    company.owner.tax_id = "12ABC34501DE35".to_owned();
    company.owner.trade_name = Some("Loja & Cia <1>".to_owned());
    let entries = [
        a.entry("CPF", Some("52998224725")),
        company,
        a.entry("PHONE", Some("+5561988881111")),
        a.entry("EMAIL", Some("a/b+c#d@mail.com.br")),
        a.entry("EVP", None),
    ];
    for entry in entries {
        let registered = a.register(entry).await;
        let key = registered.key.as_str();
        let found = b.entry_of(&b.look_up_as("11222333000181", &on_path(key)).await);
        assert_eq!(found, registered);
        let keys = pix_dict_api::CheckKeys {
            keys: vec![key.to_owned(), "nobody@mail.com".to_owned()],
        };
        let body = pix_dict_api::write_unsigned(&pix_dict_api::Request::CheckKeys(keys));
        let answer = b.check_keys(body).await;
        let pix_dict_api::Response::CheckKeys(checked) = b.opened(&answer) else {
            panic!("no answer to checkKeys");
        };
        let exist: Vec<bool> = checked.keys.iter().map(|(_, exists)| *exists).collect();
        assert_eq!(exist, [true, false]);
        assert_eq!(a.delete(key).await.status, 200);
    }
}

#[tokio::test]
async fn answers_are_compressed_when_asked_and_say_how_long_the_connection_is_kept() {
    let dict = TestDict::start().await;
    let bank = dict.bank(A);
    let headers = [REQUESTING(&bank.ispb), ("Accept-Encoding", "gzip")];
    let answer = bank.get("/api/v2/policies/", &headers).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert_eq!(answer.headers["keep-alive"], "timeout=75");
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&answer.body[..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).expect("gzip");
    bank.opened(&Answer {
        body: plain.into(),
        ..answer
    });
}

#[tokio::test]
async fn the_client_of_the_banks_gets_what_it_asks_for() {
    let dict = TestDict::start().await;
    let (a, b) = (dict.bank(A), dict.bank(B));
    let (at_a, at_b) = (a.as_client(), b.as_client());
    let new = a
        .entry("EMAIL", Some("cliente@mail.com"))
        .check()
        .expect("a sound entry");
    let request_id = pix_domain::RequestId::new(a.ids.u128());
    let entry = at_a
        .create_entry(&new, "USER_REQUESTED", request_id)
        .await
        .expect("registered");
    let payer = pix_domain::TaxId::parse(b"70000000000").expect("a CPF");
    let id = pix_domain::EndToEndId::new(b.ispb, crate::support::now(), b.ids.u128());
    let found = at_b.get_entry(&entry.key, payer, id, false).await.expect("found");
    assert_eq!(found, entry);
    let (found, statistics) = at_b
        .get_entry_with_statistics(&entry.key, payer, id)
        .await
        .expect("found");
    assert_eq!(
        (found, statistics.owner.entries.registered_accounts),
        (entry.clone(), 1)
    );
    let keys = ["cliente@mail.com".to_owned(), "x@y.z".to_owned()];
    assert_eq!(at_b.check_keys(&keys).await.expect("checked"), [true, false]);
    assert_eq!(at_a.policies().await.expect("listed").0, pix_domain::Category::A);
    at_a.policy("ENTRIES_WRITE").await.expect("shown");
    at_a.delete_entry(&entry.key, "ACCOUNT_CLOSURE")
        .await
        .expect("removed");
    let refused = at_b
        .get_entry(&entry.key, payer, id, false)
        .await
        .expect_err("gone");
    assert!(
        matches!(&refused, Failure::Refused(problem) if problem.kind == ProblemKind::NotFound),
        "{refused:?}"
    );
}
