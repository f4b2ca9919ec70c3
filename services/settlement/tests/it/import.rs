//! What an empty registry begins with.

use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::funding_client::FundingClient;
use pix_testkit::{Seat, TestPki};

use crate::support::{A, A_INDIRECT, B, TestSettlement, Urls};

fn seats() -> [Seat<'static>; 3] {
    let seat = |ispb, settler, opening_balance| Seat {
        ispb,
        settler,
        opening_balance,
    };
    [
        seat(A, None, "1000.50"),
        seat(A_INDIRECT, Some(A), ""),
        seat(B, None, "0.00"),
    ]
}

#[tokio::test]
async fn a_file_is_taken_over_once_with_an_order_for_each_opening_balance() {
    let seed = TestPki::shared().await.seed(&seats());
    let path = seed.path().join("participants.toml");
    let mut text = std::fs::read_to_string(&path).expect("just written");
    text = text.replacen(
        &format!("ispb = \"{B}\""),
        &format!("ispb = \"{B}\"\nactive = false"),
        1,
    );
    std::fs::write(&path, text).expect("writable");
    let settings = [("participants.file", path.to_str().expect("UTF-8"))];
    let mut settlement = TestSettlement::start_on(Urls::shared().await, &settings).await;

    let list = async |settlement: &TestSettlement| {
        let listed = settlement.participants().list(proto::ListRequest {}).await;
        listed.expect("listed").into_inner()
    };
    let before = list(&settlement).await;
    let told: Vec<_> = before
        .participants
        .iter()
        .map(|one| (one.ispb.as_str(), one.state.as_str(), one.certificates.len()))
        .collect();
    assert_eq!(
        told,
        [(A_INDIRECT, "ACTIVE", 0), (A, "ACTIVE", 2), (B, "SUSPENDED", 2)]
    );
    let orders = FundingClient::new(settlement.channel("dict"))
        .list_funding(proto::ListFundingRequest::default())
        .await
        .expect("listed")
        .into_inner()
        .orders;
    let orders: Vec<_> = orders
        .iter()
        .map(|order| {
            (
                order.ispb.as_str(),
                order.amount_centavos,
                order.state.as_str(),
                order.ordered_by.as_str(),
            )
        })
        .collect();
    assert_eq!(orders, [(A, 100_050, "ORDERED", "settlement")]);
    assert_eq!(settlement.ask("/status").await["funding_pending"], 1);

    // The file is never looked at again.
    std::fs::write(&path, "nonsense").expect("writable");
    assert!(settlement.stop().await.success(), "{}", settlement.log());
    settlement.run().await;
    assert_eq!(list(&settlement).await, before);
    assert_eq!(settlement.count("SELECT count(*) FROM funding_order").await, 1);
    assert_eq!(
        settlement
            .count("SELECT count(*) FROM outbox_event WHERE false")
            .await,
        0
    );
}

#[tokio::test]
async fn a_file_with_a_fault_is_not_taken_over_in_part() {
    let seed = TestPki::shared().await.seed(&seats());
    let path = seed.path().join("participants.toml");
    let mut text = std::fs::read_to_string(&path).expect("just written");
    text.push_str(
        "[[participant]]\nispb = \"3333000X\"\nname = \"Banco Sem Liquidante\"\nsettler = \"00000001\"\n",
    );
    std::fs::write(&path, text).expect("writable");
    let settings = [("participants.file", path.to_str().expect("UTF-8"))];
    let mut settlement = TestSettlement::prepare(Urls::shared().await, &settings).await;
    let status = settlement.run_to_its_end().await;
    assert_eq!(status.code(), Some(1), "{}", settlement.log());
    assert!(
        settlement.log().contains("participants.file has faults"),
        "{}",
        settlement.log()
    );
    assert_eq!(settlement.count("SELECT count(*) FROM participant").await, 0);
    assert_eq!(settlement.count("SELECT version FROM registry").await, 0);
}
