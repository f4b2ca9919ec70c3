//! The fill-in rules of the SPI catalogue (`spec/spi/rules`): what the schemas cannot say. Pure; whoever calls
//! brings the rest (participants, balances, clocks).

use pix_domain::{
    AccountType, LocalInstrument, Money, Priority, Purpose, ServiceLevel, StatusReason, TransactionStatus,
    WithdrawalAmountKind,
};

use crate::{
    CreditTransfer, Document, Envelope, GroupHeader, Pacs008, ReferredDocument, TransactionStatusReport,
};

/// Transactions in a message of service level PAGPRI or PAGFRD.
pub const TRANSACTIONS_MAX: usize = 10;
/// Transactions in a message of service level PAGAGD.
pub const SCHEDULED_TRANSACTIONS_MAX: usize = 500;

/// How many transactions one message of `level` may carry (`CdtTrfTxInf`).
#[must_use]
pub fn transactions_max(level: ServiceLevel) -> usize {
    match level {
        ServiceLevel::Priority | ServiceLevel::FraudAnalysis => TRANSACTIONS_MAX,
        ServiceLevel::Scheduled => SCHEDULED_TRANSACTIONS_MAX,
    }
}

/// Header and document belong together: `BizMsgIdr` is the `MsgId` of the group, and both carry the ISPB of
/// `Fr` (sheet of `MsgId`: "ISPB do emissor da mensagem").
///
/// # Errors
/// The sentence for an admi.002.
pub fn check_header(envelope: &Envelope) -> Result<(), &'static str> {
    let header = &envelope.header;
    let message_id = match &envelope.document {
        Document::Pacs008(p) => Some(p.group.message_id),
        Document::Pacs002(p) => Some(p.message_id),
        Document::Admi002(_) => None,
    };
    if message_id.is_some_and(|id| id != header.message_id) {
        return Err("BizMsgIdr and MsgId differ");
    }
    if header.message_id.sender() != header.from {
        return Err("the ISPB inside BizMsgIdr is not that of Fr");
    }
    Ok(())
}

/// Rules of the message, whose breach refuses all its transactions. In precedence:
///
/// 1. AM18: `NbOfTxs` is at least 1 and the number of `CdtTrfTxInf`.
/// 2. CH16: HIGH goes with PAGPRI, NORM with PAGFRD or PAGAGD.
/// 3. CH16: at most 10 transactions for PAGPRI and PAGFRD, 500 for PAGAGD.
///
/// # Errors
/// The first of these that applies.
pub fn check_group(message: &Pacs008) -> Result<(), StatusReason> {
    let GroupHeader {
        number_of_transactions,
        priority,
        service_level,
        ..
    } = message.group;
    let found = message.transactions.len();
    if u64::try_from(found) != Ok(number_of_transactions) {
        return Err(StatusReason::AM18);
    }
    let paired = match priority {
        Priority::High => service_level == ServiceLevel::Priority,
        Priority::Normal => service_level != ServiceLevel::Priority,
    };
    if !paired || found > transactions_max(service_level) {
        return Err(StatusReason::CH16);
    }
    Ok(())
}

/// Rules of one transaction. In precedence:
///
/// 1. AM01: the amount is not zero.
/// 2. FF07: GSCB and OTHR have `Strd`; IPAY and REFU do not. (No rule says it of IPRT.)
/// 3. AM12: GSCB has a VLCP and a VLDN that add up to the amount; OTHR has one VLDN, the amount.
/// 4. CH16: AUTO goes with IPAY.
/// 5. CH16: the key (`Prxy`) is absent for MANU and AUTO, present otherwise.
/// 6. CH16: `TxId` is absent for MANU and DICT; up to 25 characters for QRES, APES (when the code has one) and
///    INIC (always); 26 to 35 for QRDN, APDN and AUTO.
/// 7. CH16: a salary account (SLRY) receives no payments. The domain table says the opposite for the Treasury
///    alone, which this catalogue gives no means to recognise.
///
/// # Errors
/// The first of these that applies, with a sentence that carries no data of the transaction.
pub fn check_transaction(
    _group: &GroupHeader,
    tx: &CreditTransfer,
) -> Result<(), (StatusReason, &'static str)> {
    if tx.amount.is_zero() {
        return Err((StatusReason::AM01, "the amount is zero"));
    }
    check_purpose(tx)?;
    let refuse = |detail| Err((StatusReason::CH16, detail));
    if tx.local_instrument == LocalInstrument::Automatic && tx.purpose != Purpose::InstantPayment {
        return refuse("AUTO requires Purp IPAY");
    }
    let key = tx.creditor_account.proxy.is_some();
    let without_key = matches!(
        tx.local_instrument,
        LocalInstrument::Manual | LocalInstrument::Automatic
    );
    if key && without_key {
        return refuse("Prxy is not allowed with this LclInstrm");
    }
    if !key && !without_key {
        return refuse("Prxy is required with this LclInstrm");
    }
    if let Err(detail) = check_tx_id(tx) {
        return refuse(detail);
    }
    if tx.creditor_account.kind == AccountType::Salary {
        return refuse("a salary account (SLRY) does not receive payments");
    }
    Ok(())
}

fn check_purpose(tx: &CreditTransfer) -> Result<(), (StatusReason, &'static str)> {
    let structured = tx.remittance.as_ref().and_then(|r| r.structured.as_ref());
    match (tx.purpose, structured) {
        (Purpose::InstantPayment | Purpose::Refund, Some(_)) => {
            Err((StatusReason::FF07, "Strd is not allowed with this Purp"))
        }
        (Purpose::CashBack | Purpose::Withdrawal, None) => {
            Err((StatusReason::FF07, "Strd is required with this Purp"))
        }
        (Purpose::CashBack, Some(document)) => {
            let parts = [WithdrawalAmountKind::Purchase, WithdrawalAmountKind::Cash];
            check_parts(
                document,
                &parts,
                tx.amount,
                "GSCB needs VLCP and VLDN that add up to the amount",
            )
        }
        (Purpose::Withdrawal, Some(document)) => {
            let parts = [WithdrawalAmountKind::Cash];
            check_parts(
                document,
                &parts,
                tx.amount,
                "OTHR needs one VLDN equal to the amount",
            )
        }
        (Purpose::InstantPayment | Purpose::Refund, None) | (Purpose::RecoveryReturn, _) => Ok(()),
    }
}

fn check_parts(
    document: &ReferredDocument,
    kinds: &[WithdrawalAmountKind],
    amount: Money,
    detail: &'static str,
) -> Result<(), (StatusReason, &'static str)> {
    let complete = document.amounts.len() == kinds.len()
        && kinds
            .iter()
            .all(|kind| document.amounts.iter().any(|part| part.kind == *kind));
    let sum = document
        .amounts
        .iter()
        .try_fold(Money::ZERO, |sum, part| sum.checked_add(part.amount));
    if complete && sum == Some(amount) {
        Ok(())
    } else {
        Err((StatusReason::AM12, detail))
    }
}

fn check_tx_id(tx: &CreditTransfer) -> Result<(), &'static str> {
    use LocalInstrument as L;
    let len = tx.tx_id.as_ref().map(|id| id.as_str().len());
    match (tx.local_instrument, len) {
        (L::Manual | L::Dict, None) => Ok(()),
        (L::Manual | L::Dict, Some(_)) => Err("TxId is not allowed with this LclInstrm"),
        (L::StaticQr | L::StaticProximity, None | Some(..=25)) | (L::Initiated, Some(..=25)) => Ok(()),
        (L::StaticQr | L::StaticProximity | L::Initiated, Some(_)) => Err("TxId has more than 25 characters"),
        (L::DynamicQr | L::DynamicProximity | L::Automatic, Some(26..=35)) => Ok(()),
        (L::DynamicQr | L::DynamicProximity | L::Automatic, Some(_)) => {
            Err("TxId has not 26 to 35 characters")
        }
        (L::Initiated | L::DynamicQr | L::DynamicProximity | L::Automatic, None) => {
            Err("TxId is required with this LclInstrm")
        }
    }
}

/// What a participant may not say in a pacs.002: ACSC and ACCC, settlement instant and accounting date are the
/// SPI's own, a refusal has its reason, and `OrgnlInstrId` is the payment's unless it names a return.
///
/// # Errors
/// The sentence for an admi.002.
pub fn check_participant_status(report: &TransactionStatusReport) -> Result<(), &'static str> {
    match report.status {
        TransactionStatus::SettledDebtor | TransactionStatus::SettledCreditor => {
            return Err("ACSC and ACCC are sent by the SPI only");
        }
        TransactionStatus::Rejected if report.reasons.iter().all(|r| r.code.is_none()) => {
            return Err("RJCT needs a reason");
        }
        TransactionStatus::Rejected | TransactionStatus::AcceptedSettlementInProcess => {}
    }
    if report.settled_at.is_some() || report.settlement_date.is_some() {
        return Err("FctvIntrBkSttlmDt and OrgnlTxRef are sent by the SPI only");
    }
    let named = report.original_instruction_id.end_to_end_id();
    if named.is_some_and(|id| id != report.original_end_to_end_id) {
        return Err("OrgnlInstrId and OrgnlEndToEndId name two payments");
    }
    Ok(())
}
