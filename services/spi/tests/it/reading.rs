//! How a participant reads: tokens, repeats, confirmation, redelivery.

use http::StatusCode;
use pix_icom::Pulled;
use pix_testkit::{Fault, FaultProxy};

use crate::support::{A, B, Heard, TestSpi};

#[tokio::test]
async fn the_same_token_gives_the_same_batch_and_only_the_next_confirms() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let mut reader = b.reader();
    let first = reader.raw().await;
    assert_eq!(first.len(), 1);
    let t1 = reader.next.clone().expect("a token");

    a.post(a.pacs_008(vec![a.order(B, "2.00")])).await;
    let second = reader.raw().await;
    let t2 = reader.next.clone();
    for _ in 0..3 {
        reader.next = Some(t1.clone());
        assert_eq!(reader.raw().await, second, "the same bytes, the same ResourceIds");
        assert_eq!(reader.next, t2, "and the same next token");
    }
    assert_eq!(
        spi.count("SELECT count(*) FROM confirmation").await,
        1,
        "the first batch and no other"
    );
    b.icom.close(t2.as_deref().expect("a token")).await;
    assert_eq!(
        spi.count("SELECT count(*) FROM confirmation").await,
        2,
        "DELETE confirms the last one"
    );
    for gone in [
        t1,
        t2.expect("a token"),
        "/api/v1/out/22222222/stream/0".to_owned(),
    ] {
        assert!(
            matches!(b.icom.pull(Some(&gone)).await, Pulled::Gone(StatusCode::GONE)),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn a_token_is_worth_nothing_to_another_bank_or_on_the_other_channel() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let mut reader = b.reader();
    reader.raw().await;
    let token = reader.next.clone().expect("a token");
    assert!(matches!(
        a.icom.pull(Some(&token)).await,
        Pulled::Gone(StatusCode::FORBIDDEN)
    ));
    let as_own = token.replace(B, A);
    assert!(matches!(
        a.icom.pull(Some(&as_own)).await,
        Pulled::Gone(StatusCode::GONE)
    ));
    let secondary = spi.bank_at(B, spi.secondary);
    assert!(matches!(
        secondary.icom.pull(Some(&token)).await,
        Pulled::Gone(StatusCode::GONE)
    ));
}

#[tokio::test]
async fn what_was_not_confirmed_comes_again_after_a_crash_as_the_same_bytes() {
    let mut spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    a.post(a.pacs_008(vec![a.order(B, "1.00")])).await;
    let mut reader = b.reader();
    let first = reader.raw().await;
    a.post(a.pacs_008(vec![a.order(B, "2.00")])).await;
    let second = reader.raw().await;
    spi.kill().await;
    spi.run().await;
    reader.next = None;
    let again = reader.raw().await;
    assert_eq!(again, second, "the batch that was answered but not confirmed");
    assert_ne!(again, first);
}

#[tokio::test]
async fn six_streams_a_channel_and_a_seventh_gets_429() {
    let spi = TestSpi::start().await;
    let (b, secondary) = (spi.bank(B), spi.bank_at(B, spi.secondary));
    let primary = futures::future::join_all((0..8).map(|_| b.icom.pull(None)));
    let (primary, secondary) = futures::join!(primary, secondary.icom.pull(None));
    // Those that were let in end with 204 after their long poll; the others were refused at once.
    let empty = |pulled: &Pulled| matches!(pulled, Pulled::Messages { messages, .. } if messages.is_empty());
    let refused = |pulled: &Pulled| matches!(pulled, Pulled::Later(why, Some(_)) if why.contains("429"));
    assert_eq!(
        primary.iter().filter(|pulled| empty(pulled)).count(),
        6,
        "{primary:?}"
    );
    assert_eq!(
        primary.iter().filter(|pulled| refused(pulled)).count(),
        2,
        "{primary:?}"
    );
    assert!(
        empty(&secondary),
        "the other channel has its own six: {secondary:?}"
    );
}

#[tokio::test]
async fn a_connection_cut_anywhere_in_an_answer_loses_nothing() {
    let spi = TestSpi::start().await;
    let proxy = FaultProxy::start(([127, 0, 0, 1], spi.primary).into()).await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let through = spi.bank_at(B, proxy.address().port());
    let orders: Vec<_> = (0..3).map(|_| a.order(B, "1.00")).collect();
    for order in &orders {
        a.post(a.pacs_008(vec![order.clone()])).await;
    }
    let mut reader = through.reader();
    let expected = reader.raw().await;
    let mut token = reader.next.clone().expect("a token");
    a.post(a.pacs_008(vec![a.order(B, "9.00")])).await;
    // The answer to the next token is cut after ever more octets, and asked for again with the same token.
    let mut seen = None;
    for octets in (0..9_000).step_by(450) {
        proxy.set(Fault::CutAnswerAfter(octets));
        let cut = through.icom.pull(Some(&token)).await;
        proxy.set(Fault::None);
        reader.next = Some(token.clone());
        let whole = reader.raw().await;
        if let Some(seen) = &seen {
            assert_eq!(&whole, seen, "after a cut at {octets}");
        }
        if let Pulled::Messages { messages, next } = cut {
            assert_eq!(messages, whole, "an answer that came through is the same");
            assert_eq!(Some(next), reader.next);
        }
        seen = Some(whole);
        assert_eq!(
            spi.count("SELECT count(*) FROM confirmation").await,
            i64::try_from(expected.len()).expect("small")
        );
    }
    token = reader.next.clone().expect("a token");
    b.icom.close(&token).await;
    let unread = "SELECT count(*) FROM delivery d WHERE destination = '22222222' AND NOT EXISTS (
        SELECT 1 FROM confirmation c WHERE c.delivery_id = d.id)";
    assert_eq!(spi.count(unread).await, 0);
    let twice = "SELECT count(*) FROM (SELECT outbox_id FROM delivery_item GROUP BY 1 HAVING count(*) > 1) t";
    assert_eq!(spi.count(twice).await, 0, "no message under two ResourceIds");
    let all: Vec<_> = expected
        .iter()
        .chain(seen.iter().flatten())
        .flat_map(|(_, bytes)| crate::support::said(&b.open(bytes)))
        .collect();
    assert_eq!(
        all.iter().filter(|what| matches!(what, Heard::Order(_))).count(),
        4
    );
}
