//! `Participants`: what operators change, and what those are told that keep a copy.

use pix_proto::settlement_v1 as proto;
use tonic::Code;

use crate::support::{A, A_INDIRECT, B, TestSettlement, UNKNOWN, indirect, refused};

#[tokio::test]
async fn a_copy_is_told_all_that_was_and_then_each_change_as_it_happens() {
    let settlement = TestSettlement::start().await;
    let mut client = settlement.participants();
    let mut live = settlement.changes("", 0).await;
    let added = client
        .add(settlement.direct(A))
        .await
        .expect("added")
        .into_inner();
    assert_eq!((added.version, added.settler.as_str()), (1, A));
    assert_eq!((added.state.as_str(), added.category.as_str()), ("ACTIVE", "A"));
    let first = live.next().await;
    assert_eq!(first.version, 1);
    assert_eq!(first.participant.as_ref(), Some(&added));

    client.add(indirect(A_INDIRECT, A)).await.expect("added");
    let second = live.next().await;
    let told = second.participant.expect("a participant");
    assert_eq!((second.version, told.ispb.as_str()), (2, A_INDIRECT));

    let mut late = settlement.changes(&first.registry, 1).await;
    assert_eq!(late.versions(1).await, [2]);
    let suspend = proto::SuspendRequest {
        ispb: A.to_owned(),
        reason: "ordered by the supervisor".to_owned(),
    };
    client.suspend(suspend).await.expect("suspended");
    for stream in [&mut live, &mut late] {
        let third = stream.next().await;
        let told = third.participant.expect("a participant");
        assert_eq!((third.version, told.state.as_str()), (3, "SUSPENDED"));
    }
    let listed = client
        .list(proto::ListRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!((listed.version, listed.registry), (3, first.registry));
    let ispbs: Vec<_> = listed.participants.iter().map(|one| one.ispb.as_str()).collect();
    assert_eq!(ispbs, [A_INDIRECT, A]);
}

#[tokio::test]
async fn a_copy_of_something_else_is_told_so() {
    let settlement = TestSettlement::start().await;
    settlement
        .participants()
        .add(settlement.direct(B))
        .await
        .expect("added");
    let registry = settlement.changes("", 0).await.next().await.registry;
    for after in [2, -1] {
        refused(
            settlement.try_changes(&registry, after).await,
            Code::OutOfRange,
            "the registry ends at version 1",
        );
    }
    refused(
        settlement.try_changes("another", 1).await,
        Code::FailedPrecondition,
        "this is registry",
    );
    refused(
        settlement.try_changes("", 1).await,
        Code::InvalidArgument,
        "registry: ",
    );
}

#[tokio::test]
async fn services_that_only_read_change_nothing() {
    let settlement = TestSettlement::start().await;
    let mut reader = proto::participants_client::ParticipantsClient::new(settlement.channel("spi"));
    refused(
        reader.add(settlement.direct(A)).await,
        Code::PermissionDenied,
        "Forbidden",
    );
    let get = proto::GetRequest {
        ispb: UNKNOWN.to_owned(),
    };
    refused(reader.get(get).await, Code::NotFound, "there is no participant");
    assert_eq!(settlement.count("SELECT count(*) FROM change").await, 0);
}
