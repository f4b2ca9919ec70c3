//! `dict.v1`, for the switch's own services.

use futures::StreamExt as _;
use pix_dict_api::ProblemKind;
use pix_proto::dict_v1 as proto;
use pix_proto::dict_v1::dict_client::DictClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};

use crate::support::{A, B, SOON, TestDict, UNKNOWN};

async fn channel(dict: &TestDict, identity: Option<Identity>) -> Result<Channel, tonic::transport::Error> {
    let ca = Certificate::from_pem(&dict.pki.inside("pix").ca_pem);
    let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let endpoint = Endpoint::from_shared(format!("https://localhost:{}", dict.grpc))?.tls_config(tls)?;
    endpoint.connect().await
}

async fn inside(dict: &TestDict) -> DictClient<Channel> {
    inside_as(dict, "pix").await
}

async fn inside_as(dict: &TestDict, name: &str) -> DictClient<Channel> {
    let own = dict.pki.inside(name);
    let identity = Identity::from_pem(own.identity.certificate_pem, own.identity.key_pem);
    DictClient::new(channel(dict, Some(identity)).await.expect("let in"))
}

fn register(key_type: &str, key: Option<&str>, request_id: &str) -> proto::RegisterRequest {
    proto::RegisterRequest {
        key: key.map(str::to_owned),
        key_type: key_type.to_owned(),
        account: Some(proto::Account {
            participant: A.to_owned(),
            branch: Some("0001".to_owned()),
            number: "123456".to_owned(),
            account_type: "CACC".to_owned(),
            opened_at_micros: 1_263_092_400_000_000,
        }),
        owner: Some(proto::Owner {
            person_type: "NATURAL_PERSON".to_owned(),
            tax_id: "52998224725".to_owned(),
            name: "João Silva".to_owned(),
            trade_name: None,
        }),
        request_id: request_id.to_owned(),
    }
}

const FIRST: &str = "a946d533-7f22-42a5-9a9b-e87cd55c0f4d";
const SECOND: &str = "b946d533-7f22-42a5-9a9b-e87cd55c0f4d";

#[tokio::test]
async fn all_five_calls_work() {
    let dict = TestDict::start().await;
    let mut client = inside(&dict).await;
    let asked = register("PHONE", Some("+5561988880000"), FIRST);
    let phone = client
        .register(asked.clone())
        .await
        .expect("registered")
        .into_inner();
    let again = client.register(asked).await.expect("repeated").into_inner();
    assert_eq!(phone, again);
    let evp = client
        .register(register("EVP", None, SECOND))
        .await
        .expect("registered");
    let evp = evp.into_inner();

    let resolve = |key: &str| proto::ResolveRequest { key: key.to_owned() };
    let found = client
        .resolve(resolve(&phone.key))
        .await
        .expect("found")
        .into_inner();
    assert_eq!(found, phone);
    let keys = [evp.key.as_str(), "nobody@mail.com", phone.key.as_str()];
    let asked: Vec<_> = keys.iter().map(|key| resolve(key)).collect();
    let stream = client
        .resolve_many(futures::stream::iter(asked))
        .await
        .expect("a stream");
    let resolved: Vec<_> = stream
        .into_inner()
        .map(|resolution| resolution.expect("resolved"))
        .collect()
        .await;
    let resolved: Vec<_> = resolved
        .iter()
        .map(|resolution| (resolution.key.as_str(), resolution.entry.is_some()))
        .collect();
    assert_eq!(resolved, [(keys[0], true), (keys[1], false), (keys[2], true)]);

    let list = |participant: &str| proto::ListByParticipantRequest {
        participant: participant.to_owned(),
    };
    let stream = client.list_by_participant(list(A)).await.expect("a stream");
    let listed: Vec<_> = stream
        .into_inner()
        .map(|entry| entry.expect("an entry").key)
        .collect()
        .await;
    assert_eq!(listed, [phone.key.clone(), evp.key]);
    let stream = client.list_by_participant(list(B)).await.expect("a stream");
    assert_eq!(stream.into_inner().count().await, 0);

    let remove = proto::RemoveRequest {
        key: phone.key.clone(),
        participant: A.to_owned(),
    };
    client.remove(remove.clone()).await.expect("removed");
    let refused = client.remove(remove).await.expect_err("gone");
    assert_eq!(refused.code(), Code::NotFound);
    let refused = client.resolve(resolve(&phone.key)).await.expect_err("gone");
    assert!(refused.message().starts_with("NotFound: "), "{refused}");
}

#[tokio::test]
async fn the_rules_are_those_of_the_other_face() {
    let dict = TestDict::start().await;
    let mut client = inside(&dict).await;
    let mut wrong = register("PHONE", Some("61988880000"), FIRST);
    let refused = client.register(wrong.clone()).await.expect_err("no phone");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.message(),
        "EntryInvalid: Entry has invalid fields: entry.key"
    );
    wrong.key = Some("+5561988880000".to_owned());
    wrong.account.as_mut().expect("there").participant = UNKNOWN.to_owned();
    let refused = client.register(wrong).await.expect_err("nobody");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("ParticipantInvalid: "), "{refused}");
    client
        .register(register("PHONE", Some("+5561988880000"), FIRST))
        .await
        .expect("registered");
    let refused = client
        .register(register("PHONE", Some("+5561988880001"), FIRST))
        .await
        .expect_err("another key");
    assert!(
        refused.message().starts_with("RequestIdAlreadyUsed: "),
        "{refused}"
    );

    // A request that was answered inside and comes again by the participants' face is the same request.
    let bank = dict.bank(A);
    let mut create = bank.create_of(bank.entry("PHONE", Some("+5561988880000")));
    create.entry.account.number = "123456".to_owned();
    create.request_id = FIRST.to_owned();
    let first = bank.create(&create).await;
    assert_eq!(first.status, 201);
    assert_eq!(bank.create(&create).await.body, first.body);
    let again = bank.create_of(create.entry);
    bank.assert_refused(&bank.create(&again).await, 400, ProblemKind::EntryAlreadyExists);
}

#[tokio::test]
async fn services_that_only_read_write_nothing() {
    let dict = TestDict::start().await;
    let mut reader = inside_as(&dict, "spi").await;
    let asked = register("PHONE", Some("+5561988880000"), FIRST);
    let refused = reader.register(asked.clone()).await.expect_err("no writer");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let registered = inside(&dict).await.register(asked).await.expect("a writer");
    let key = registered.into_inner().key;
    let remove = proto::RemoveRequest {
        key: key.clone(),
        participant: A.to_owned(),
    };
    let refused = reader.remove(remove).await.expect_err("no writer");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let found = reader.resolve(proto::ResolveRequest { key }).await;
    assert!(found.is_ok(), "it reads");
}

#[tokio::test]
async fn lists_that_nobody_reads_on_stop_nobody_and_one_that_is_read_is_whole() {
    const ENTRIES: usize = 5_000;
    let dict = TestDict::start().await;
    let fill = format!(
        "INSERT INTO entry (key_type, key, participant, account_number, account_type, opened_at, tax_id, name,
                            created_at, owned_since, request_id, cid)
         SELECT 'PHONE', '+5561' || n, '{A}', n::text, 'CACC', now(), '52998224725', repeat('Ana ', 30) || 'Ana',
                now(), now(), uuid_send('{FIRST}'), decode(md5(n::text) || md5('x' || n), 'hex')
         FROM generate_series(988000001, 988000000 + {ENTRIES}) AS n"
    );
    let filled = sqlx::query(sqlx::AssertSqlSafe(fill))
        .execute(&mut dict.owner().await)
        .await;
    filled.expect("as owner");
    let list = || proto::ListByParticipantRequest {
        participant: A.to_owned(),
    };
    let mut dawdlers = Vec::new();
    for _ in 0..8 {
        let mut client = inside(&dict).await;
        let mut stream = client
            .list_by_participant(list())
            .await
            .expect("a stream")
            .into_inner();
        stream.next().await.expect("one").expect("an entry");
        dawdlers.push((client, stream));
    }
    let sets = tokio::time::timeout(SOON / 10, dict.ask(&format!("/participants/{A}"))).await;
    assert!(sets.is_ok(), "lists keep what operators ask with");
    let (_client, stream) = dawdlers.swap_remove(0);
    let rest: Vec<_> = stream.map(|entry| entry.expect("an entry").key).collect().await;
    assert_eq!(rest.len(), ENTRIES - 1);
    assert!(rest.is_sorted());
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let dict = TestDict::start().await;
    let channel_of = dict.pki.participant(A);
    let read = |name: &str| std::fs::read(channel_of.join(name)).expect("readable");
    let participant = Identity::from_pem(read("channel.crt"), read("channel.key"));
    for identity in [None, Some(participant)] {
        // TLS 1.3 tells a client that it is refused with its first answer.
        let asked = async {
            let channel = channel(&dict, identity)
                .await
                .map_err(|error| error.to_string())?;
            let request = Request::new(proto::ResolveRequest {
                key: "+5561988880000".to_owned(),
            });
            let answered = DictClient::new(channel).resolve(request).await;
            match answered {
                Err(status) if status.code() == Code::NotFound => Ok(()),
                Err(status) => Err(status.to_string()),
                Ok(_) => Ok(()),
            }
        };
        assert!(asked.await.is_err(), "it was let in");
    }
}
