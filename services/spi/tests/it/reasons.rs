//! Every reason code that the SPI gives, from an input that provokes it; and the receivers' codes, which pass through.
//! `docs/reason-codes.md` is the same table for people, and this file checks that it is complete.

use std::collections::BTreeSet;
use std::time::Duration;

use iso20022::{
    AdjustmentAmount, CreditTransfer, Document, GroupHeader, MessageDefinition, Pacs008, ReferredDocument,
    Remittance,
};
use pix_domain::{
    AccountType, Cnpj, EndToEndId, LocalInstrument, Money, Priority, Purpose, ServiceLevel, StatusReason,
    Text, TxId, WithdrawalAgent, WithdrawalAmountKind,
};

use crate::support::{A, B, B_INDIRECT, Bank, C, Heard, TestSpi, now, parse, status};

/// An indirect participant of B that is not active.
const ASLEEP: &str = "5555000X";

type Change = fn(&mut CreditTransfer);

/// One order, sound but for one thing; the code that it is refused with.
const ORDERS: &[(&str, &str, Change)] = &[
    ("AB11", "the payer's bank took 34 s", |tx| {
        tx.accepted_at = now().minus(Duration::from_secs(34)).to_millis()
    }),
    ("AG12", "to a participant of the same settler", |tx| {
        tx.creditor_agent = parse(A)
    }),
    ("AGNT", "of an indirect participant that another settles", |tx| {
        tx.debtor_agent = parse(B_INDIRECT)
    }),
    ("AM01", "zero", |tx| tx.amount = Money::ZERO),
    ("AM04", "more than the Conta PI holds", |tx| {
        tx.amount = Money::from_centavos(100_000_001)
    }),
    ("AM12", "cash back whose parts do not add up", |tx| {
        tx.purpose = Purpose::CashBack;
        tx.remittance = Some(structured(
            B,
            &[
                (WithdrawalAmountKind::Purchase, 50),
                (WithdrawalAmountKind::Cash, 49),
            ],
        ));
    }),
    ("AM12", "a withdrawal of another amount", |tx| {
        tx.purpose = Purpose::Withdrawal;
        tx.remittance = Some(structured(B, &[(WithdrawalAmountKind::Cash, 99)]));
    }),
    ("BE05", "an initiator that is no participant", |tx| {
        tx.local_instrument = LocalInstrument::Initiated;
        tx.initiator = Cnpj::parse(b"98765432000198").ok();
        tx.tx_id = TxId::parse(b"abc").ok();
        tx.creditor_account.proxy = key();
    }),
    ("CH16", "a key with MANU", |tx| tx.creditor_account.proxy = key()),
    ("CH16", "no key with DICT", |tx| {
        tx.local_instrument = LocalInstrument::Dict
    }),
    ("CH16", "AUTO for something else than IPAY", |tx| {
        tx.local_instrument = LocalInstrument::Automatic;
        tx.purpose = Purpose::Refund;
    }),
    ("CH16", "a TxId with MANU", |tx| {
        tx.tx_id = TxId::parse(b"abc").ok()
    }),
    ("CH16", "a TxId of 26 with QRES", |tx| {
        tx.local_instrument = LocalInstrument::StaticQr;
        tx.creditor_account.proxy = key();
        tx.tx_id = TxId::parse(b"abcdefghijklmnopqrstuvwxyz").ok();
    }),
    ("CH16", "no TxId with QRDN", |tx| {
        tx.local_instrument = LocalInstrument::DynamicQr;
        tx.creditor_account.proxy = key();
    }),
    ("CH16", "to a salary account", |tx| {
        tx.creditor_account.kind = AccountType::Salary
    }),
    ("DS0G", "of another direct participant", |tx| {
        tx.debtor_agent = parse(C)
    }),
    ("DS27", "to a participant that is not active", |tx| {
        tx.creditor_agent = parse(ASLEEP)
    }),
    ("DT02", "accepted in the future", |tx| {
        tx.accepted_at = now().plus(Duration::from_secs(90)).to_millis()
    }),
    ("FF07", "cash back without its parts", |tx| {
        tx.purpose = Purpose::CashBack
    }),
    ("FF07", "parts without cash back", |tx| {
        tx.remittance = Some(structured(B, &[(WithdrawalAmountKind::Cash, 100)]))
    }),
    ("FF08", "a minute of yesterday", |tx| {
        tx.end_to_end_id = minute(&now().minus(Duration::from_secs(46_800)).to_wire())
    }),
    ("FF08", "a minute that does not exist", |tx| {
        tx.end_to_end_id = minute(b"2026-02-31T12:00:00.000Z")
    }),
    ("MD01", "a facilitator that is no participant", |tx| {
        tx.purpose = Purpose::Withdrawal;
        tx.remittance = Some(structured("98765432", &[(WithdrawalAmountKind::Cash, 100)]));
    }),
    ("RC09", "of nobody", |tx| tx.debtor_agent = parse("98765432")),
    ("RC10", "to nobody", |tx| tx.creditor_agent = parse("98765432")),
];

/// What it is, its answer, and how a sound group becomes it.
type GroupCase = (&'static str, &'static str, fn(&mut GroupHeader));

/// Codes that whole messages are refused with, by what is wrong with their header.
const GROUPS: &[GroupCase] = &[
    ("AM18", "another count", |group| group.number_of_transactions = 2),
    ("CH16", "HIGH that is not PAGPRI", |group| {
        group.service_level = ServiceLevel::FraudAnalysis
    }),
    ("CH16", "NORM that is PAGPRI", |group| {
        group.priority = Priority::Normal
    }),
    ("DT02", "made in the future", |group| {
        group.created_at = now().plus(Duration::from_secs(90)).to_millis()
    }),
];

/// What receivers say.
const RECEIVERS: &[&str] = &[
    "AB09", "AC03", "AC06", "AC07", "AC14", "AG03", "AM02", "AM09", "BE01", "BE15", "BE17", "CH11", "CN01",
    "DS04", "DUPL", "ED05", "FRAD", "RR04", "SL02", "UPAY",
];

/// Given by the SPI to others than the first answer to an order; tested where they belong.
const ELSEWHERE: &[&str] = &["AB03", "DU03"];

/// Known to the schema; nothing here gives them yet. AG13 and DT05 belong to returns (pacs.004); of the others no
/// source says when.
const NEVER: &[&str] = &["AG13", "AM23", "DS02", "DT05", "INDT", "RR06"];

fn key() -> Option<Text<77>> {
    Text::parse("+5561988887777").ok()
}

fn structured(facilitator: &str, amounts: &[(WithdrawalAmountKind, u64)]) -> Remittance {
    let amounts = amounts.iter().map(|(kind, centavos)| AdjustmentAmount {
        amount: Money::from_centavos(*centavos),
        kind: *kind,
    });
    Remittance {
        unstructured: None,
        structured: Some(ReferredDocument {
            agent: WithdrawalAgent::ALL[0],
            facilitator: parse(facilitator),
            amounts: amounts.collect(),
        }),
    }
}

/// An EndToEndId of A with the minute of this instant.
fn minute(wire: &[u8; 24]) -> EndToEndId {
    let digits: String = wire[..16]
        .iter()
        .filter(|b| b.is_ascii_digit())
        .map(|b| char::from(*b))
        .collect();
    EndToEndId::parse(format!("E{A}{digits}abcdefghijk").as_bytes()).expect("the pattern holds")
}

async fn start() -> TestSpi {
    let mut spi = TestSpi::stopped().await;
    let file = spi.seed.path().join("participants.toml");
    let mut seed = std::fs::read_to_string(&file).expect("readable");
    seed += &format!(
        "\n[[participant]]\nispb = \"{ASLEEP}\"\nname = \"Banco que dorme\"\nsettler = \"{B}\"\nactive = false\n"
    );
    std::fs::write(&file, seed).expect("writable");
    spi.run().await;
    spi
}

fn grouped(bank: &Bank, transaction: CreditTransfer, change: fn(&mut GroupHeader)) -> bytes::Bytes {
    let message_id = bank.message_id();
    let mut group = GroupHeader {
        message_id,
        created_at: now().to_millis(),
        number_of_transactions: 1,
        priority: Priority::High,
        service_level: ServiceLevel::Priority,
    };
    change(&mut group);
    let document = Document::Pacs008(Pacs008 {
        group,
        transactions: vec![transaction],
    });
    bank.sealed(message_id, MessageDefinition::Pacs008, document)
}

#[tokio::test]
async fn every_code_of_the_spi_is_provoked_by_an_order() {
    let spi = start().await;
    let a = spi.bank(A);
    let mut expected = Vec::new();
    for (code, _, change) in ORDERS {
        let mut order = a.order(B, "1.00");
        change(&mut order);
        expected.push(status(order.end_to_end_id, &format!("RJCT {code}")));
        a.post(a.pacs_008(vec![order])).await;
    }
    for (code, _, change) in GROUPS {
        let order = a.order(B, "1.00");
        expected.push(status(order.end_to_end_id, &format!("RJCT {code}")));
        a.post(grouped(&a, order, *change)).await;
    }
    let mut heard = a.reader().hear_until(expected.len()).await;
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
    assert_eq!(spi.balance(A).await, ("1000000.00".to_owned(), "0.00".to_owned()));
}

#[tokio::test]
async fn what_receivers_say_reaches_the_payer_as_they_said_it() {
    let spi = start().await;
    let (a, b) = (spi.bank(A), spi.bank(B));
    let (mut from_a, mut from_b) = (a.reader(), b.reader());
    let mut expected = Vec::new();
    for codes in RECEIVERS.chunks(10) {
        let orders: Vec<_> = codes.iter().map(|_| a.order(B, "1.00")).collect();
        a.post(a.pacs_008(orders.clone())).await;
        from_b.hear_until(codes.len()).await;
        let answers: Vec<_> = orders
            .iter()
            .zip(codes)
            .map(|(order, code)| (order.end_to_end_id, StatusReason::parse(code.as_bytes()).ok()))
            .collect();
        b.post(b.pacs_002(&answers)).await;
        expected.extend(
            orders
                .iter()
                .zip(codes)
                .map(|(order, code)| status(order.end_to_end_id, &format!("RJCT {code}"))),
        );
    }
    let mut heard: Vec<Heard> = from_a.hear_until(expected.len()).await;
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
}

#[test]
fn the_document_has_every_code_once_and_no_other() {
    let document = include_str!("../../../../docs/reason-codes.md");
    let rows: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| &row[..4])
        .collect();
    let documented: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(documented.len(), rows.len(), "a code has one row");
    let known: BTreeSet<&str> = StatusReason::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(documented, known);
    let tested = ORDERS
        .iter()
        .map(|(code, ..)| *code)
        .chain(GROUPS.iter().map(|(code, ..)| *code))
        .chain(RECEIVERS.iter().copied())
        .chain(ELSEWHERE.iter().copied())
        .chain(NEVER.iter().copied());
    assert_eq!(tested.collect::<BTreeSet<_>>(), known);
    for code in NEVER {
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{code}`")))
            .expect("a row");
        assert!(row.contains("not given here"), "{row}");
    }
}
