//! The fill-in rules, each by its breach.

use iso20022::rules::{check_group, check_header, check_participant_status, check_transaction};
use iso20022::{
    AdjustmentAmount, CreditTransfer, Document, GroupHeader, Pacs008, ReferredDocument, Remittance,
    StatusReasonInformation, parse_unsigned,
};
use pix_domain::StatusReason::{AM01, AM12, AM18, CH16, FF07};
use pix_domain::{
    AccountType, LocalInstrument as L, Money, MsgId, Priority, Purpose, ServiceLevel, StatusReason,
    TransactionStatus, TxId, WithdrawalAgent, WithdrawalAmountKind as W,
};

use crate::support::{ispb, order, refusal, spec, text, transfer};

fn message(transactions: u128) -> Pacs008 {
    let Document::Pacs008(message) = order(transactions).document else {
        panic!("a pacs.008")
    };
    message
}

fn group() -> GroupHeader {
    message(1).group
}

fn judged(change: impl FnOnce(&mut CreditTransfer)) -> Result<(), StatusReason> {
    let mut tx = transfer(1);
    change(&mut tx);
    check_transaction(&group(), &tx).map_err(|(reason, _)| reason)
}

fn parts(parts: &[(u64, W)]) -> Option<Remittance> {
    let amounts = parts.iter().map(|(c, kind)| AdjustmentAmount {
        amount: Money::from_centavos(*c),
        kind: *kind,
    });
    let structured = ReferredDocument {
        agent: WithdrawalAgent::Shop,
        facilitator: ispb("33333333"),
        amounts: amounts.collect(),
    };
    Some(Remittance {
        unstructured: None,
        structured: Some(structured),
    })
}

fn tx_id(len: usize) -> Option<TxId> {
    Some(TxId::parse("a".repeat(len).as_bytes()).expect("a TxId"))
}

#[test]
fn groups() {
    let judged = |transactions, claimed, priority, service_level| {
        let mut message = message(transactions);
        message.group = GroupHeader {
            number_of_transactions: claimed,
            priority,
            service_level,
            ..message.group
        };
        check_group(&message)
    };
    use Priority::{High, Normal};
    use ServiceLevel::{FraudAnalysis, Priority as Pri, Scheduled};
    assert_eq!(judged(1, 1, High, Pri), Ok(()));
    assert_eq!(judged(10, 10, Normal, FraudAnalysis), Ok(()));
    assert_eq!(judged(500, 500, Normal, Scheduled), Ok(()));
    assert_eq!(judged(2, 3, High, Pri), Err(AM18));
    assert_eq!(judged(1, 0, Normal, Pri), Err(AM18), "before the pairing");
    assert_eq!(judged(1, 1, High, Scheduled), Err(CH16));
    assert_eq!(judged(1, 1, High, FraudAnalysis), Err(CH16));
    assert_eq!(judged(1, 1, Normal, Pri), Err(CH16));
    assert_eq!(judged(11, 11, High, Pri), Err(CH16));
    assert_eq!(judged(11, 11, Normal, FraudAnalysis), Err(CH16));
    assert_eq!(judged(501, 501, Normal, Scheduled), Err(CH16));
}

#[test]
fn amounts_and_purposes() {
    assert_eq!(judged(|_| ()), Ok(()));
    assert_eq!(judged(|tx| tx.amount = Money::ZERO), Err(AM01));
    for purpose in [Purpose::InstantPayment, Purpose::Refund] {
        assert_eq!(
            judged(|tx| (tx.purpose, tx.remittance) = (purpose, parts(&[(1_050, W::Cash)]))),
            Err(FF07)
        );
    }
    for purpose in [Purpose::CashBack, Purpose::Withdrawal] {
        assert_eq!(judged(|tx| tx.purpose = purpose), Err(FF07), "{purpose}");
    }
    assert_eq!(judged(|tx| tx.purpose = Purpose::RecoveryReturn), Ok(()));
    let cash_back =
        |given: &[(u64, W)]| judged(|tx| (tx.purpose, tx.remittance) = (Purpose::CashBack, parts(given)));
    assert_eq!(cash_back(&[(1_000, W::Purchase), (50, W::Cash)]), Ok(()));
    assert_eq!(cash_back(&[(1_000, W::Purchase), (51, W::Cash)]), Err(AM12));
    assert_eq!(cash_back(&[(1_050, W::Cash)]), Err(AM12));
    assert_eq!(
        cash_back(&[(i64::MAX as u64, W::Purchase), (i64::MAX as u64, W::Cash)]),
        Err(AM12),
        "no overflow"
    );
    let withdrawal =
        |given: &[(u64, W)]| judged(|tx| (tx.purpose, tx.remittance) = (Purpose::Withdrawal, parts(given)));
    assert_eq!(withdrawal(&[(1_050, W::Cash)]), Ok(()));
    assert_eq!(withdrawal(&[(1_049, W::Cash)]), Err(AM12));
    assert_eq!(withdrawal(&[(1_050, W::Purchase)]), Err(AM12));
    assert_eq!(withdrawal(&[(1_000, W::Purchase), (50, W::Cash)]), Err(AM12));
}

#[test]
fn keys_follow_the_local_instrument() {
    for instrument in L::ALL {
        let fitting_tx_id = match instrument {
            L::Manual | L::Dict => None,
            L::StaticQr | L::StaticProximity | L::Initiated => tx_id(25),
            L::DynamicQr | L::DynamicProximity | L::Automatic => tx_id(26),
        };
        let judged = |key: bool| {
            let key = key.then(|| text("chave@example.com"));
            judged(|tx| {
                (tx.local_instrument, tx.tx_id, tx.creditor_account.proxy) =
                    (*instrument, fitting_tx_id.clone(), key);
            })
        };
        let without = matches!(instrument, L::Manual | L::Automatic);
        assert_eq!(
            judged(true),
            if without { Err(CH16) } else { Ok(()) },
            "{instrument} with a key"
        );
        assert_eq!(
            judged(false),
            if without { Ok(()) } else { Err(CH16) },
            "{instrument} without a key"
        );
    }
}

#[test]
fn reconciliation_ids_follow_the_local_instrument() {
    let fits = |instrument: L, len: Option<usize>| {
        judged(|tx| {
            tx.local_instrument = instrument;
            tx.tx_id = len.and_then(tx_id);
            if !matches!(instrument, L::Manual | L::Automatic) {
                tx.creditor_account.proxy = Some(text("chave@example.com"));
            }
        }) == Ok(())
    };
    let verdicts =
        |instrument| [None, Some(1), Some(25), Some(26), Some(35)].map(|len| fits(instrument, len));
    for instrument in [L::Manual, L::Dict] {
        assert_eq!(
            verdicts(instrument),
            [true, false, false, false, false],
            "{instrument}"
        );
    }
    for instrument in [L::StaticQr, L::StaticProximity] {
        assert_eq!(
            verdicts(instrument),
            [true, true, true, false, false],
            "{instrument}"
        );
    }
    assert_eq!(verdicts(L::Initiated), [false, true, true, false, false]);
    for instrument in [L::DynamicQr, L::DynamicProximity, L::Automatic] {
        assert_eq!(
            verdicts(instrument),
            [false, false, false, true, true],
            "{instrument}"
        );
    }
}

#[test]
fn the_rest_of_ch16() {
    let automatic = |purpose| {
        judged(|tx| (tx.local_instrument, tx.tx_id, tx.purpose) = (L::Automatic, tx_id(26), purpose))
    };
    assert_eq!(automatic(Purpose::InstantPayment), Ok(()));
    assert_eq!(automatic(Purpose::Refund), Err(CH16));
    assert_eq!(
        judged(|tx| tx.creditor_account.kind = AccountType::Salary),
        Err(CH16)
    );
    assert_eq!(judged(|tx| tx.debtor_account.kind = AccountType::Salary), Ok(()));
}

#[test]
fn participants_do_not_speak_for_the_spi() {
    let judged = |change: &dyn Fn(&mut iso20022::TransactionStatusReport)| {
        let mut report = refusal();
        change(&mut report);
        check_participant_status(&report).is_ok()
    };
    assert!(judged(&|_| ()));
    assert!(judged(
        &|r| (r.status, r.reasons) = (TransactionStatus::AcceptedSettlementInProcess, Vec::new())
    ));
    assert!(!judged(&|r| r.status = TransactionStatus::SettledDebtor));
    assert!(!judged(&|r| r.status = TransactionStatus::SettledCreditor));
    assert!(!judged(&|r| r.reasons.clear()));
    assert!(!judged(&|r| r.reasons = vec![StatusReasonInformation::default()]));
    assert!(!judged(&|r| r.settled_at = Some(crate::support::now())));
    assert!(!judged(&|r| r.settlement_date = Some(crate::support::now())));
    assert!(!judged(&|r| r.original_end_to_end_id = transfer(2).end_to_end_id));
}

#[test]
fn header_and_document_belong_together() {
    let mut envelope = order(1);
    assert_eq!(check_header(&envelope), Ok(()));
    envelope.header.from = ispb("22222222");
    assert!(check_header(&envelope).is_err());
    let mut envelope = order(1);
    envelope.header.message_id = MsgId::new(envelope.header.from, 8);
    assert!(check_header(&envelope).is_err());
}

/// The catalogue's own example of Pix Troco has a TxId of 23 characters with QRDN, where its sheet asks for 26 to 35.
/// The sheet is what is enforced.
#[test]
fn the_official_samples_obey_but_for_one_tx_id() {
    let Some(spec) = spec() else { return };
    for entry in std::fs::read_dir(spec.join("spi/samples-5.13.1")).expect("the folder of samples") {
        let path = entry.expect("a file").path();
        let Ok(envelope) = parse_unsigned(&std::fs::read(&path).expect("a sample")) else {
            continue;
        };
        let Document::Pacs008(message) = envelope.document else {
            continue;
        };
        assert_eq!(check_group(&message), Ok(()), "{}", path.display());
        for tx in &message.transactions {
            let short = tx.tx_id.as_ref().is_some_and(|id| id.as_str().len() < 26)
                && tx.local_instrument == L::DynamicQr;
            let expected = if short {
                Err((CH16, "TxId has not 26 to 35 characters"))
            } else {
                Ok(())
            };
            assert_eq!(
                check_transaction(&message.group, tx),
                expected,
                "{}",
                path.display()
            );
        }
    }
}
