//! Every kind of order that the manual knows: instruments, purposes, priorities, channels, indirect participants.

use std::collections::BTreeSet;

use bytes::Bytes;
use iso20022::{
    AdjustmentAmount, CreditTransfer, Document, GroupHeader, MessageDefinition, Pacs008, ReferredDocument,
    Remittance,
};
use pix_domain::{
    AccountType, Cnpj, LocalInstrument, Money, Priority, Purpose, ServiceLevel, Text, TxId, WithdrawalAgent,
    WithdrawalAmountKind,
};

use crate::support::{A, B, B_INDIRECT, Bank, Heard, TestSpi, now, parse, status};

fn in_group(
    bank: &Bank,
    transactions: Vec<CreditTransfer>,
    priority: Priority,
    level: ServiceLevel,
) -> Bytes {
    let message_id = bank.message_id();
    let group = GroupHeader {
        message_id,
        created_at: now().to_millis(),
        number_of_transactions: transactions.len() as u64,
        priority,
        service_level: level,
    };
    let document = Document::Pacs008(Pacs008 { group, transactions });
    bank.sealed(message_id, MessageDefinition::Pacs008, document)
}

fn tx_id(len: usize) -> Option<TxId> {
    TxId::parse(&b"abcdefghijklmnopqrstuvwxyz012345678"[..len]).ok()
}

fn withdrawal(agent: WithdrawalAgent, amounts: &[(WithdrawalAmountKind, u64)]) -> Option<Remittance> {
    Some(Remittance {
        unstructured: Text::parse("Pix Troco").ok(),
        structured: Some(ReferredDocument {
            agent,
            facilitator: parse(B),
            amounts: amounts
                .iter()
                .map(|(kind, centavos)| AdjustmentAmount {
                    amount: Money::from_centavos(*centavos),
                    kind: *kind,
                })
                .collect(),
        }),
    })
}

/// Each local instrument with what its rules want, each purpose with its remittance.
fn sound(bank: &Bank) -> Vec<CreditTransfer> {
    use LocalInstrument as L;
    let mut orders = Vec::new();
    for (instrument, tx_id) in [
        (L::Manual, None),
        (L::Dict, None),
        (L::StaticQr, None),
        (L::StaticQr, tx_id(25)),
        (L::DynamicQr, tx_id(26)),
        (L::Initiated, tx_id(1)),
        (L::Automatic, tx_id(35)),
        (L::DynamicProximity, tx_id(35)),
        (L::StaticProximity, None),
        (L::StaticProximity, tx_id(25)),
    ] {
        let mut order = bank.order(B, "1.00");
        order.local_instrument = instrument;
        order.tx_id = tx_id;
        if !matches!(instrument, L::Manual | L::Automatic) {
            order.creditor_account.proxy = Text::parse("pix@exemplo.com.br").ok();
        }
        if instrument == L::Initiated {
            order.initiator = Cnpj::parse(format!("{B}000191").as_bytes()).ok();
        }
        orders.push(order);
    }
    for kind in [
        AccountType::Current,
        AccountType::Savings,
        AccountType::Transacting,
    ] {
        let mut order = bank.order(B, "1.00");
        order.creditor_account.kind = kind;
        order.debtor_account.kind = if kind == AccountType::Current {
            AccountType::Salary
        } else {
            kind
        };
        orders.push(order);
    }
    use WithdrawalAmountKind::{Cash, Purchase};
    for (purpose, remittance) in [
        (
            Purpose::CashBack,
            withdrawal(WithdrawalAgent::Shop, &[(Purchase, 60), (Cash, 40)]),
        ),
        (
            Purpose::Withdrawal,
            withdrawal(WithdrawalAgent::Facilitator, &[(Cash, 100)]),
        ),
        (Purpose::Refund, None),
        (Purpose::RecoveryReturn, None),
    ] {
        let mut order = bank.order(B, "1.00");
        (order.purpose, order.remittance) = (purpose, remittance);
        orders.push(order);
    }
    orders
}

#[tokio::test]
async fn every_kind_of_order_reaches_its_receiver_as_it_was_sent() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let sent = sound(&a);
    for ten in sent.chunks(10) {
        a.post(a.pacs_008(ten.to_vec())).await;
    }
    let mut received: Vec<CreditTransfer> = Vec::new();
    let (mut reader, mut seen) = (b.reader(), BTreeSet::new());
    while received.len() < sent.len() {
        for (id, bytes) in reader.raw().await {
            if !seen.insert(id) {
                continue; // a stream that broke brings its last batch again
            }
            let document = b.open(&bytes).document;
            let Document::Pacs008(message) = document else {
                panic!("only orders are on their way: {document:?}")
            };
            assert_eq!(message.group.priority, Priority::High);
            received.extend(message.transactions);
        }
    }
    for order in &sent {
        let same = received
            .iter()
            .find(|other| other.end_to_end_id == order.end_to_end_id);
        assert_eq!(same, Some(order));
    }
    let answers: Vec<_> = sent.iter().map(|order| (order.end_to_end_id, None)).collect();
    for ten in answers.chunks(10) {
        b.post(b.pacs_002(ten)).await;
    }
    let settled = a.reader().hear_until(sent.len()).await;
    assert!(
        settled
            .iter()
            .all(|heard| matches!(heard, Heard::Status(_, text) if text == "ACSC")),
        "{settled:?}"
    );
}

#[tokio::test]
async fn five_hundred_scheduled_orders_live_on_the_secondary_channel() {
    let mut spi = TestSpi::stopped().await;
    spi.flag("bucket.secondary_by_day", "5000/350");
    spi.run().await;
    let (a, b) = (spi.bank_at(A, spi.secondary), spi.bank_at(B, spi.secondary));
    let orders: Vec<_> = (0..500).map(|_| a.order(B, "1.00")).collect();
    a.post(in_group(
        &a,
        orders.clone(),
        Priority::Normal,
        ServiceLevel::Scheduled,
    ))
    .await;
    let mut from_b = b.reader();
    let heard = from_b.hear_until(500).await;
    assert!(heard.iter().all(|heard| matches!(heard, Heard::Order(_))));
    for ten in orders.chunks(10) {
        let answers: Vec<_> = ten.iter().map(|order| (order.end_to_end_id, None)).collect();
        b.post(b.pacs_002(&answers)).await;
    }
    let mut settled = a.reader().hear_until(500).await;
    settled.sort();
    let mut expected: Vec<_> = orders
        .iter()
        .map(|order| status(order.end_to_end_id, "ACSC"))
        .collect();
    expected.sort();
    assert_eq!(settled, expected);
    assert_eq!(from_b.hear_until(500).await.len(), 500, "and ACCC of all");
    let elsewhere = "SELECT count(*) FROM delivery WHERE channel <> 'S'";
    assert_eq!(
        spi.count(elsewhere).await,
        0,
        "nothing of it took the primary channel"
    );
    // Eleven at once are too many for an order that is not scheduled.
    let eleven: Vec<_> = (0..11).map(|_| a.order(B, "1.00")).collect();
    let primary = spi.bank(A);
    primary
        .post(in_group(
            &primary,
            eleven,
            Priority::Normal,
            ServiceLevel::FraudAnalysis,
        ))
        .await;
    let refused = primary.reader().hear_until(11).await;
    assert!(
        refused
            .iter()
            .all(|heard| matches!(heard, Heard::Status(_, text) if text == "RJCT CH16")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_order_held_for_fraud_analysis_counts_from_its_receipt() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut held = a.order(B, "1.00");
    held.accepted_at = now().minus(std::time::Duration::from_secs(1800)).to_millis();
    let id = held.end_to_end_id;
    a.post(in_group(
        &a,
        vec![held],
        Priority::Normal,
        ServiceLevel::FraudAnalysis,
    ))
    .await;
    assert_eq!(b.reader().hear_until(1).await, [Heard::Order(id)]);
    b.post(b.pacs_002(&[(id, None)])).await;
    assert_eq!(a.reader().hear_until(1).await, [status(id, "ACSC")]);
}

#[tokio::test]
async fn one_message_carries_orders_of_and_for_indirect_participants() {
    let spi = TestSpi::start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let mut from_indirect = b.order(A, "2.00");
    from_indirect.debtor_agent = parse(B_INDIRECT);
    let own = b.order(A, "3.00");
    let ids = [from_indirect.end_to_end_id, own.end_to_end_id];
    b.post(b.pacs_008(vec![from_indirect, own])).await;
    let mut heard = a.reader().hear_until(2).await;
    heard.sort();
    let mut expected = ids.map(Heard::Order).to_vec();
    expected.sort();
    assert_eq!(heard, expected);
    a.post(a.pacs_002(&[(ids[0], None), (ids[1], None)])).await;
    assert_eq!(b.reader().hear_until(2).await.len(), 2);
    assert_eq!(
        spi.balance(B).await.0,
        "999995.00",
        "both out of the settler's Conta PI"
    );
    // To one that settles with the payer is a book transfer.
    let to_own = b.order(B_INDIRECT, "1.00");
    let id = to_own.end_to_end_id;
    let mut from_b = b.reader();
    b.post(b.pacs_008(vec![to_own])).await;
    let heard = from_b.hear_until(1).await;
    assert_eq!(heard, [status(id, "RJCT AG12")]);
}
