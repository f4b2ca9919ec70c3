//! Money into and out of a Conta PI: once for each order, whatever dies.

use futures::future::join_all;
use pix_proto::settlement_v1 as proto;
use pix_proto::settlement_v1::funding_client::FundingClient;
use pix_testkit::{Seat, TestPki, eventually};
use sqlx::{Connection as _, PgConnection, Row as _};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::spi::{FakeSpi, Manner};
use crate::support::{
    A, A_INDIRECT, B, SOON, TestSettlement, UNKNOWN, Urls, get_plain, indirect, refused, uuid,
};

/// A settlement service with A, B and an indirect participant of A, before this SPI.
async fn start(spi: &FakeSpi) -> TestSettlement {
    let urls = Urls {
        spi: spi.url(),
        ..Urls::shared().await
    };
    let settlement = TestSettlement::start_on(urls, &[]).await;
    let mut participants = settlement.participants();
    for new in [
        settlement.direct(A),
        settlement.direct(B),
        indirect(A_INDIRECT, A),
    ] {
        participants.add(new).await.expect("added");
    }
    settlement
}

fn client(settlement: &TestSettlement) -> FundingClient<Channel> {
    FundingClient::new(settlement.channel("pix"))
}

async fn fund(
    settlement: &TestSettlement,
    asked: &proto::FundRequest,
) -> Result<proto::FundingOrder, Status> {
    let answer = client(settlement).fund(asked.clone()).await;
    answer.map(tonic::Response::into_inner)
}

/// The same until it is answered.
async fn funded(settlement: &TestSettlement, asked: &proto::FundRequest) -> proto::FundingOrder {
    eventually("an order has its end", SOON, || async {
        match fund(settlement, asked).await {
            Ok(order) => Some(order),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                None
            }
        }
    })
    .await
}

fn order(ispb: &str, amount_centavos: i64) -> proto::FundRequest {
    proto::FundRequest {
        id: uuid(),
        ispb: ispb.to_owned(),
        amount_centavos,
        note: "test".to_owned(),
    }
}

#[tokio::test]
async fn an_order_is_done_once_and_answered_the_same_for_ever() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    let credit = order(A, 10_000);
    let first = fund(&settlement, &credit).await.expect("done");
    assert_eq!(
        (first.state.as_str(), first.available_centavos),
        ("DONE", Some(10_000))
    );
    assert_eq!((first.ordered_by.as_str(), first.note.as_str()), ("pix", "test"));
    assert_eq!(fund(&settlement, &credit).await.expect("repeated"), first);
    let debit = fund(&settlement, &order(A, -2_500)).await.expect("done");
    assert_eq!(
        (debit.state.as_str(), debit.available_centavos),
        ("DONE", Some(7_500))
    );
    let too_much = fund(&settlement, &order(A, -7_501)).await.expect("an answer");
    assert_eq!(too_much.state, "REFUSED");
    assert_eq!(too_much.reason, "too little is available");
    assert_eq!((spi.asked().len(), spi.balance(A)), (3, 7_500));
    assert_eq!(spi.asked()[0].ordered_by, "pix");

    for (what, other) in [
        (
            "amount",
            proto::FundRequest {
                amount_centavos: 10_001,
                ..credit.clone()
            },
        ),
        (
            "account",
            proto::FundRequest {
                ispb: B.to_owned(),
                ..credit.clone()
            },
        ),
        (
            "note",
            proto::FundRequest {
                note: "another".to_owned(),
                ..credit.clone()
            },
        ),
    ] {
        let message = refused(fund(&settlement, &other).await, Code::AlreadyExists, "order ");
        assert!(message.contains("differs"), "{what}: {message}");
    }
    let listed = client(&settlement)
        .list_funding(proto::ListFundingRequest {
            ispb: A.to_owned(),
            limit: 2,
        })
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.orders, [too_much, debit]);
}

#[tokio::test]
async fn what_cannot_be_an_order_is_not_recorded() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    let with = |change: fn(&mut proto::FundRequest)| {
        let mut asked = order(A, 100);
        change(&mut asked);
        asked
    };
    for (asked, code, begins) in [
        (
            with(|asked| asked.id = "1".to_owned()),
            Code::InvalidArgument,
            "id: ",
        ),
        (
            with(|asked| asked.ispb = "1".to_owned()),
            Code::InvalidArgument,
            "ispb: ",
        ),
        (
            with(|asked| asked.ispb = A_INDIRECT.to_owned()),
            Code::InvalidArgument,
            "ispb: ",
        ),
        (
            with(|asked| asked.ispb = UNKNOWN.to_owned()),
            Code::NotFound,
            "there is no participant",
        ),
        (
            with(|asked| asked.amount_centavos = 0),
            Code::InvalidArgument,
            "amount_centavos: ",
        ),
        (
            with(|asked| asked.amount_centavos = i64::MIN),
            Code::InvalidArgument,
            "amount_centavos: ",
        ),
        (
            with(|asked| asked.note = " ".to_owned()),
            Code::InvalidArgument,
            "note: ",
        ),
        (
            with(|asked| asked.note = "n".repeat(201)),
            Code::InvalidArgument,
            "note: ",
        ),
    ] {
        refused(fund(&settlement, &asked).await, code, begins);
    }
    let mut reader = FundingClient::new(settlement.channel("spi"));
    refused(
        reader.fund(order(A, 100)).await,
        Code::PermissionDenied,
        "Forbidden",
    );
    assert_eq!(settlement.count("SELECT count(*) FROM funding_order").await, 0);
    assert_eq!(spi.asked().len(), 0);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_moves_no_money_twice() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    spi.be(Manner::LosesAnswers);
    let credit = order(A, 10_000);
    let (done, ()) = tokio::join!(funded(&settlement, &credit), async {
        eventually("the money has moved", SOON, || async {
            (spi.balance(A) == 10_000).then_some(())
        })
        .await;
        spi.be(Manner::Sound);
    });
    assert_eq!(
        (done.state.as_str(), done.available_centavos),
        ("DONE", Some(10_000))
    );
    assert!(spi.asked().len() > 1);
    assert_eq!(spi.balance(A), 10_000);
    assert_eq!(settlement.ask("/status").await["funding_pending"], 0);
}

#[tokio::test]
async fn a_refusal_is_no_end_while_an_earlier_attempt_may_still_arrive() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    spi.be(Manner::Unavailable);
    let debit = order(A, -100);
    refused(
        fund(&settlement, &debit).await,
        Code::Unavailable,
        &format!("order {} is recorded", debit.id),
    );
    spi.be(Manner::Sound);
    let asked = spi.asked().len();
    eventually("it is asked for again, and again", SOON, || async {
        (spi.asked().len() >= asked + 3).then_some(())
    })
    .await;
    assert_eq!(settlement.ask("/status").await["funding_pending"], 1);
    let listed = client(&settlement)
        .list_funding(proto::ListFundingRequest::default())
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.orders[0].state, "ORDERED");
    // Time goes by.
    eventually("the refusal is believed", SOON, || async {
        let later = "UPDATE funding_pending SET unknown_at = unknown_at - interval '30 seconds'";
        let later = sqlx::query(later).execute(&mut settlement.owner().await).await;
        later.expect("as owner");
        let pending = settlement.ask("/status").await["funding_pending"].clone();
        (pending == 0).then_some(())
    })
    .await;
    let end = fund(&settlement, &debit).await.expect("known");
    assert_eq!(
        (end.state.as_str(), end.reason.as_str()),
        ("REFUSED", "too little is available")
    );
}

#[tokio::test]
async fn orders_of_one_account_keep_their_order_and_others_do_not_wait_for_them() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    spi.be(Manner::NotYet);
    let (credit, debit, other) = (order(A, 10_000), order(A, -10_000), order(B, 1));
    let recorded = async |count: i64| {
        eventually("an order is recorded", SOON, || async {
            (settlement.count("SELECT count(*) FROM funding_pending").await == count).then_some(())
        })
        .await;
    };
    let in_turn = async {
        recorded(1).await;
        let debit = funded(&settlement, &debit);
        let (debit, ()) = tokio::join!(debit, async {
            recorded(2).await;
            let other = funded(&settlement, &other);
            let (other, ()) = tokio::join!(other, async {
                recorded(3).await;
                spi.be(Manner::Sound);
            });
            assert_eq!(other.state, "DONE");
        });
        assert_eq!(
            (debit.state.as_str(), debit.available_centavos),
            ("DONE", Some(0))
        );
    };
    let (credit, ()) = tokio::join!(funded(&settlement, &credit), in_turn);
    assert_eq!(
        (credit.state.as_str(), credit.available_centavos),
        ("DONE", Some(10_000))
    );
}

#[tokio::test]
async fn accounts_that_come_to_no_end_starve_nobody() {
    // As many as are asked for at once.
    const STUCK: i64 = 8;
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    let ispbs: Vec<_> = (1..=STUCK).map(|n| format!("9000000{n}")).collect();
    for ispb in &ispbs {
        let new = proto::AddRequest {
            ispb: ispb.clone(),
            name: format!("Banco {ispb}"),
            ..proto::AddRequest::default()
        };
        settlement.participants().add(new).await.expect("added");
    }
    spi.be(Manner::NotYet);
    let stuck: Vec<_> = ispbs.iter().map(|ispb| order(ispb, 100)).collect();
    let pending = async |count: i64| {
        eventually("orders are pending", SOON, || async {
            (settlement.count("SELECT count(*) FROM funding_pending").await == count).then_some(())
        })
        .await;
    };
    let stuck = join_all(stuck.iter().map(|order| fund(&settlement, order)));
    let late = order(B, 100);
    let (_, done) = tokio::join!(stuck, async {
        pending(STUCK).await;
        let (done, ()) = tokio::join!(funded(&settlement, &late), async {
            eventually("the late one was asked for as well", SOON, || async {
                spi.asked().iter().any(|asked| asked.account == B).then_some(())
            })
            .await;
            spi.be(Manner::KnowsOnly(B));
        });
        done
    });
    assert_eq!(done.state, "DONE");
    pending(STUCK).await;
}

#[tokio::test]
async fn another_end_than_the_one_that_is_noted_changes_nothing_and_is_reported() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    spi.be(Manner::NotYet);
    let credit = order(A, 10_000);
    let (end, ()) = tokio::join!(funded(&settlement, &credit), async {
        eventually("it is asked for", SOON, || async {
            (!spi.asked().is_empty()).then_some(())
        })
        .await;
        // As a process would whose words were from another book.
        let noted = "INSERT INTO funding_outcome (id, state, at, reason) SELECT id, 'REFUSED', now(), 'no'
                     FROM funding_pending";
        let noted = sqlx::query(noted).execute(&mut settlement.owner().await).await;
        assert_eq!(noted.expect("as owner").rows_affected(), 1);
        spi.be(Manner::Sound);
        eventually("it is pending no more", SOON, || async {
            (settlement.count("SELECT count(*) FROM funding_pending").await == 0).then_some(())
        })
        .await;
    });
    assert_eq!((end.state.as_str(), end.reason.as_str()), ("REFUSED", "no"));
    eventually("it is counted", SOON, || async {
        let metrics = get_plain(settlement.ops, "/metrics").await;
        metrics
            .contains("settlement_funding_contradictions_total 1\n")
            .then_some(())
    })
    .await;
    assert!(settlement.log().contains("another end of a funding"));
}

#[tokio::test]
async fn kills_in_the_middle_of_orders_lose_none_and_double_none() {
    let spi = FakeSpi::start().await;
    let mut settlement = start(&spi).await;
    let orders: Vec<_> = (0..24).map(|n| order([A, B][n % 2], 100)).collect();
    for round in 0..3 {
        let manner = [Manner::LosesAnswers, Manner::Sound, Manner::Unavailable];
        spi.be(manner[round % 3].clone());
        let asked = spi.asked().len();
        let some = &orders[round * 8..(round + 1) * 8];
        let under_way = join_all(some.iter().map(|order| fund(&settlement, order)));
        tokio::select! {
            _ = under_way => {}
            () = eventually("the SPI is asked", SOON, || async {
                (spi.asked().len() > asked).then_some(())
            }) => {}
        }
        settlement.kill().await;
        settlement.run().await;
    }
    spi.be(Manner::Sound);
    let ends = join_all(orders.iter().map(|order| funded(&settlement, order))).await;
    assert!(ends.iter().all(|end| end.state == "DONE"));
    assert_eq!((spi.balance(A), spi.balance(B)), (1_200, 1_200));
    assert_eq!(settlement.count("SELECT count(*) FROM funding_order").await, 24);
    assert_eq!(settlement.count("SELECT count(*) FROM funding_outcome").await, 24);
    assert_eq!(settlement.count("SELECT count(*) FROM funding_pending").await, 0);
    assert!(settlement.stop().await.success(), "{}", settlement.log());
}

#[tokio::test]
async fn opening_balances_are_ordered_once_whatever_happens_to_the_importing_process() {
    let seat = |ispb, opening_balance| Seat {
        ispb,
        settler: None,
        opening_balance,
    };
    let seed = TestPki::shared()
        .await
        .seed(&[seat(A, "1000.00"), seat(B, "0.01")]);
    let path = seed.path().join("participants.toml");
    let spi = FakeSpi::start().await;
    spi.be(Manner::LosesAnswers);
    let urls = Urls {
        spi: spi.url(),
        ..Urls::shared().await
    };
    let settings = [("participants.file", path.to_str().expect("UTF-8"))];
    let mut settlement = TestSettlement::start_on(urls, &settings).await;
    eventually("both are asked for", SOON, || async {
        (spi.balance(A) > 0 && spi.balance(B) > 0).then_some(())
    })
    .await;
    settlement.kill().await;
    spi.be(Manner::Sound);
    settlement.run().await;
    eventually("both have their end", SOON, || async {
        (settlement.ask("/status").await["funding_pending"] == 0).then_some(())
    })
    .await;
    assert_eq!((spi.balance(A), spi.balance(B)), (100_000, 1));
    assert_eq!(
        settlement
            .count("SELECT count(*) FROM funding_outcome WHERE state = 'DONE'")
            .await,
        2
    );
}

#[tokio::test]
async fn the_serving_role_cannot_rewrite_what_was_ordered() {
    let spi = FakeSpi::start().await;
    let settlement = start(&spi).await;
    fund(&settlement, &order(A, 100)).await.expect("done");
    let server = PgConnection::connect(&settlement.urls.server).await;
    let mut server = server.expect("the serving role may connect");
    for statement in [
        "UPDATE funding_order SET amount_centavos = 1",
        "DELETE FROM funding_order",
        "UPDATE funding_outcome SET state = 'REFUSED'",
        "DELETE FROM funding_outcome",
        "UPDATE change SET ordered_by = 'nobody'",
        "DELETE FROM change",
        "DELETE FROM participant",
        "UPDATE participant SET settler = '22222222'",
        "UPDATE certificate SET ispb = '22222222'",
        "DELETE FROM certificate",
        "UPDATE registry SET id = 'another'",
        "DELETE FROM registry",
    ] {
        let refused = sqlx::query(statement)
            .execute(&mut server)
            .await
            .expect_err(statement);
        assert!(
            refused.to_string().contains("permission denied"),
            "{statement}: {refused}"
        );
    }
    let another = sqlx::query("INSERT INTO registry (id, version) VALUES ('another', 0)");
    let refused = another.execute(&mut server).await.expect_err("there is one");
    assert!(refused.to_string().contains("registry_one"), "{refused}");
    let row = sqlx::query("SELECT amount_centavos, ordered_by FROM funding_order")
        .fetch_one(&mut server)
        .await
        .expect("it may read");
    assert_eq!((row.get::<i64, _>(0), row.get::<&str, _>(1)), (100, "pix"));
}
