//! What receivers answer, as they should and as they should not: each is answered by the rules, and money moves once.

use pix_domain::{EndToEndId, StatusReason, TransactionStatus};

use crate::support::{A, B, Bank, C, Heard, TestSpi, get, status};

async fn order(from: &Bank, to: &str) -> EndToEndId {
    let order = from.order(to, "1.00");
    let id = order.end_to_end_id;
    from.post(from.pacs_008(vec![order])).await;
    id
}

#[tokio::test]
async fn ten_answers_for_several_payers_in_one_message_each_count_for_themselves() {
    let spi = TestSpi::start().await;
    let (a, b, c) = (spi.bank(A), spi.bank(B), spi.bank(C));
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push((order(&a, C).await, "A"));
        ids.push((order(&b, C).await, "B"));
    }
    let answers: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(i, (id, _))| (*id, (i % 3 == 0).then_some(StatusReason::AC03)))
        .collect();
    c.post(c.pacs_002(&answers)).await;
    let told = |payer: &str| {
        let mut told: Vec<_> = answers
            .iter()
            .zip(&ids)
            .filter(|(_, (_, whose))| *whose == payer)
            .map(|((id, refusal), _)| status(*id, if refusal.is_some() { "RJCT AC03" } else { "ACSC" }))
            .collect();
        told.sort();
        told
    };
    for (bank, payer) in [(&a, "A"), (&b, "B")] {
        let mut heard = bank.reader().hear_until(5).await;
        heard.sort();
        assert_eq!(heard, told(payer));
    }
    assert_eq!(spi.balance(C).await.0, "1000006.00");
}

#[tokio::test]
async fn an_answer_comes_before_its_order_was_confirmed_twice_and_contradicts_itself() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let id = order(&a, B).await;
    let mut from_b = b.reader();
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    // The order is read and not confirmed; both answers in one message, the first counts.
    b.post(b.pacs_002(&[(id, None), (id, Some(StatusReason::AC07))]))
        .await;
    assert_eq!(
        from_b.hear_until(2).await,
        [status(id, "ACCC"), status(id, "ACCC")]
    );
    assert_eq!(a.reader().hear_until(1).await, [status(id, "ACSC")]);
    // Again, and against itself: it hears how it ended.
    b.post(b.pacs_002(&[(id, None)])).await;
    b.post(b.pacs_002(&[(id, Some(StatusReason::AC07))])).await;
    assert_eq!(
        from_b.hear_until(2).await,
        [status(id, "ACCC"), status(id, "ACCC")]
    );
    assert_eq!(spi.balance(B).await.0, "1000001.00");

    // The other way round: refused stays refused, and an acceptance hears so.
    let id = order(&a, B).await;
    assert_eq!(from_b.hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, Some(StatusReason::AC06))])).await;
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "RJCT AC06")]);
    assert_eq!(spi.balance(B).await.0, "1000001.00");
    assert_eq!(spi.balance(A).await, ("999999.00".to_owned(), "0.00".to_owned()));
}

/// A participant may say that it could not process a message of ours: operators hear of it, nobody else does.
#[tokio::test]
async fn a_complaint_about_one_of_ours_is_kept_counted_and_shown_with_its_payment() {
    let spi = TestSpi::start().await;
    let (a, b, c) = (spi.bank(A), spi.bank(B), spi.bank(C));
    let id = order(&a, B).await;
    let mut from_b = b.reader();
    let batch = from_b.raw().await;
    let (resource_id, bytes) = &batch[0];
    let message_id = b.open(bytes).header.message_id.to_string();
    let complaint = b.post(b.admi_002(&message_id, "Assinatura inválida")).await;
    b.post(b.admi_002(&resource_id.to_string(), "XML inválido")).await;
    // Of one whose message it is not, and of one that writes what is no id.
    c.post(c.admi_002(&message_id, "Assinatura inválida")).await;
    c.post(c.admi_002("70000000000", "x")).await;
    let view = spi.ask(&format!("/payments/{id}")).await;
    let complaints: Vec<_> = view["timeline"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|stage| stage["stage"] == "complaint")
        .collect();
    assert_eq!(complaints.len(), 2, "{view}");
    let about = format!("admi.002 of {B} about {message_id}: Assinatura inválida");
    assert_eq!(complaints[0]["detail"], about.as_str());
    assert_eq!(complaints[0]["resource_id"], complaint.to_string().as_str());
    let kept =
        "SELECT count(*) FROM complaint c JOIN message_in m USING (resource_id) WHERE m.kind = 'admi.002'";
    assert_eq!(spi.count(kept).await, 4);
    let (_, metrics) = get(spi.ops, "/metrics").await;
    for (ispb, count) in [(B, 2), (C, 2)] {
        let line = format!("spi_complaints_total{{participant=\"{ispb}\"}} {count}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    let log = spi.log();
    assert!(log.contains(&message_id) && !log.contains("70000000000"));
    // The payment goes on as if nothing had been said.
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "ACCC")]);
    assert_eq!(a.reader().hear_until(1).await, [status(id, "ACSC")]);
    assert!(spi.audit().await.0);
}

#[tokio::test]
async fn an_answer_for_what_is_not_theirs_is_refused_alone_and_moves_nothing() {
    let spi = TestSpi::start().await;
    let (a, b, c) = (spi.bank(A), spi.bank(B), spi.bank(C));
    let (theirs, own) = (order(&a, B).await, order(&a, C).await);
    let unknown = a.order(C, "1.00").end_to_end_id;
    c.post(c.pacs_002(&[(theirs, None), (own, None), (unknown, None)]))
        .await;
    let mut heard = c.reader().hear_until(4).await;
    heard.sort();
    let refusals = heard
        .iter()
        .filter(|heard| matches!(heard, Heard::Refusal(..)))
        .count();
    assert_eq!(refusals, 2, "one for each reason, naming its payments: {heard:?}");
    assert!(
        heard.contains(&status(own, "ACCC")),
        "the good one between them counts: {heard:?}"
    );
    assert_eq!(spi.balance(A).await, ("999998.00".to_owned(), "1.00".to_owned()));
    // The one whose it is can still answer.
    b.post(b.pacs_002(&[(theirs, None)])).await;
    assert_eq!(a.reader().hear_until(2).await.len(), 2);
    assert_eq!(spi.balance(B).await.0, "1000001.00");
}

#[tokio::test]
async fn what_only_the_spi_may_say_and_eleven_answers_are_refused_as_a_message() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let id = order(&a, B).await;
    let mut from_b = b.reader();
    from_b.hear_until(1).await;
    for status in [
        TransactionStatus::SettledDebtor,
        TransactionStatus::SettledCreditor,
    ] {
        b.post(b.pacs_002_saying(&[id], status)).await;
        let heard = from_b.hear_until(1).await;
        assert!(matches!(&heard[..], [Heard::Refusal(..)]), "{heard:?}");
    }
    // A refusal without a reason.
    b.post(b.pacs_002_saying(&[id], TransactionStatus::Rejected))
        .await;
    assert!(matches!(&from_b.hear_until(1).await[..], [Heard::Refusal(..)]));
    b.post(b.pacs_002_saying(&[id; 11], TransactionStatus::AcceptedSettlementInProcess))
        .await;
    assert!(matches!(&from_b.hear_until(1).await[..], [Heard::Refusal(..)]));
    assert_eq!(spi.balance(A).await.1, "1.00", "still blocked");
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(from_b.hear_until(1).await, [status(id, "ACCC")]);
}
