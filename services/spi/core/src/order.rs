//! An order of payment before the book is asked: whose it is, where it goes, which rules it breaks.
//!
//! Precedence of refusals, first match wins (documented in `docs/reason-codes.md` as they are completed):
//!
//! 1. authority, claiming nothing: RC09, AGNT, DS0G, DS27 of the payer, FF08 for a minute that does not exist;
//! 2. identity, in the book: a repeat gets its first answer, another content DU03;
//! 3. the message, claiming nothing: FF08 by tolerance, AM18, CH16 of the group, DT02 of the header;
//! 4. content, claiming the EndToEndId: DT02 of the order, RC10, DS27, AG12, BE05, MD01, the rules of the transaction
//!    (AM01, AM12, FF07, CH16, ...), AB11;
//! 5. money, in the book: AM04.

use std::sync::Arc;
use std::time::Duration;

use iso20022::{CreditTransfer, GroupHeader, Pacs008};
use pix_domain::{
    EndToEndId, Ispb, Money, Month, Priority, ServiceLevel, StatusReason, TaxId, Text, Timestamp,
};

use crate::participants::Participants;

/// Settlement limit of a priority payment, from the payer's acceptance (IN BCB 5/2020).
pub const SETTLEMENT_LIMIT: Duration = Duration::from_secs(40);
/// Time the payer's participant may have used before its order reaches the SPI (IN BCB 5/2020): AB11.
pub const VALIDATION_LIMIT: Duration = Duration::from_secs(34);
/// Settlement limit of a scheduled payment, from receipt (Manual de Tempos 7.0).
pub const SCHEDULED_LIMIT: Duration = Duration::from_secs(45 * 60);
/// How far the minute inside an EndToEndId may lie from processing (pacs.008 rule sheet): FF08.
pub const END_TO_END_TOLERANCE: Duration = Duration::from_secs(12 * 3600);
/// How far a bank's clock may run ahead of ours: DT02.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(60);

/// A refusal of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub reason: StatusReason,
    /// In words, for the bank's operator; at most 105 characters.
    pub detail: String,
}

impl Refusal {
    /// Builds one.
    #[must_use]
    pub fn new(reason: StatusReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// What was decided of an order before the book is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Sound,
    /// Refused before its identity is looked at; claims nothing.
    NotYours(Refusal),
    /// Refused, unless it is a repeat; claims nothing.
    Unclaimed(Refusal),
    /// Refused, unless it is a repeat; the EndToEndId is used up.
    Unsound(Refusal),
}

/// One order of payment, ready for the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub end_to_end_id: EndToEndId,
    /// The month inside its name; `None` only with [`Verdict::NotYours`].
    pub month: Option<Month>,
    /// Whose Conta PI pays: the sender.
    pub payer: Ispb,
    /// Whose Conta PI is paid: the settler of the receiver's participant, or that participant when unknown.
    pub receiver: Ispb,
    /// `DbtrAgt`.
    pub debtor_agent: Ispb,
    /// `CdtrAgt`.
    pub creditor_agent: Ispb,
    /// CPF or CNPJ of the payer.
    pub debtor: TaxId,
    /// Who is paid.
    pub creditor: Arc<Creditor>,
    /// How much.
    pub amount: Money,
    /// Service level; with it priority and channel.
    pub service_level: ServiceLevel,
    /// When the payer asked for it.
    pub accepted_at: Timestamp,
    /// When the SPI gives up.
    pub deadline: Timestamp,
    /// Hash over all fields but MsgId and CreDtTm.
    pub fingerprint: [u8; 32],
    /// Canonical `CdtTrfTxInf`.
    pub transaction: Arc<[u8]>,
    /// What is decided already.
    pub verdict: Verdict,
}

/// Who is paid: the DICT counts settlements by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creditor {
    /// CPF or CNPJ.
    pub tax_id: TaxId,
    /// The key that was paid, as the order names it (`Prxy`).
    pub key: Option<Text<77>>,
}

/// What [`examine`] needs beside the message.
pub struct Context<'a> {
    /// Who sent it: the direct participant of the certificate, the header and the signature.
    pub sender: Ispb,
    /// The participants known at receipt.
    pub participants: &'a Participants,
    /// When it was received, database time.
    pub received_at: Timestamp,
}

/// Looks at every transaction of a message. `hash` is SHA-256.
pub fn examine(message: &Pacs008, context: &Context<'_>, hash: impl Fn(&[&[u8]]) -> [u8; 32]) -> Vec<Order> {
    let group_refusal = refuse_group(message, context);
    message
        .transactions
        .iter()
        .map(|tx| {
            let transaction: Arc<[u8]> = iso20022::credit_transfer_fragment(tx).into();
            let level = message.group.service_level;
            let fingerprint = hash(&[
                level.as_str().as_bytes(),
                message.group.priority.as_str().as_bytes(),
                &transaction,
            ]);
            let receiver = context
                .participants
                .get(tx.creditor_agent)
                .map_or(tx.creditor_agent, |p| p.settler);
            let deadline = deadline(&message.group, tx, context.received_at);
            Order {
                end_to_end_id: tx.end_to_end_id,
                month: tx.end_to_end_id.month().ok(),
                payer: context.sender,
                receiver,
                debtor_agent: tx.debtor_agent,
                creditor_agent: tx.creditor_agent,
                debtor: tx.debtor.tax_id,
                creditor: Arc::new(Creditor {
                    tax_id: tx.creditor,
                    key: tx.creditor_account.proxy.clone(),
                }),
                amount: tx.amount,
                service_level: level,
                accepted_at: tx.accepted_at,
                deadline: deadline.unwrap_or(context.received_at),
                fingerprint,
                transaction,
                verdict: verdict(message, tx, context, group_refusal.as_ref(), deadline.is_none()),
            }
        })
        .collect()
}

fn verdict(
    message: &Pacs008,
    tx: &CreditTransfer,
    context: &Context<'_>,
    group_refusal: Option<&Refusal>,
    payer_too_slow: bool,
) -> Verdict {
    use StatusReason as R;
    if let Some(refusal) = refuse_authority(tx, context) {
        return Verdict::NotYours(refusal);
    }
    let Ok(minute) = tx.end_to_end_id.minute() else {
        return Verdict::NotYours(Refusal::new(
            R::FF08,
            "the EndToEndId names a minute that does not exist",
        ));
    };
    let now = context.received_at;
    if now.since(minute).max(minute.since(now)) > END_TO_END_TOLERANCE {
        return Verdict::Unclaimed(Refusal::new(
            R::FF08,
            "the minute in the EndToEndId is more than 12 hours from now",
        ));
    }
    if let Some(refusal) = group_refusal {
        // What is wrong with the message is not the payment's fault: put right, it may come again.
        return Verdict::Unclaimed(refusal.clone());
    }
    if tx.accepted_at.since(now) > CLOCK_AHEAD_MAX {
        return Verdict::Unsound(Refusal::new(R::DT02, "AccptncDtTm is more than 60 s ahead"));
    }
    if let Some(refusal) = refuse_route(tx, context) {
        return Verdict::Unsound(refusal);
    }
    if let Err((reason, detail)) = iso20022::rules::check_transaction(&message.group, tx) {
        return Verdict::Unsound(Refusal::new(reason, detail));
    }
    if payer_too_slow {
        return Verdict::Unsound(Refusal::new(
            R::AB11,
            "the order took 34 s or more to reach the SPI",
        ));
    }
    Verdict::Sound
}

fn refuse_group(message: &Pacs008, context: &Context<'_>) -> Option<Refusal> {
    if let Err(reason) = iso20022::rules::check_group(message) {
        return Some(Refusal::new(
            reason,
            "the group header does not fit its transactions",
        ));
    }
    (message.group.created_at.since(context.received_at) > CLOCK_AHEAD_MAX)
        .then(|| Refusal::new(StatusReason::DT02, "CreDtTm is more than 60 s ahead"))
}

/// Whether the sender may speak for `DbtrAgt`. The sender is a direct participant; `DbtrAgt` is it or one it settles.
fn refuse_authority(tx: &CreditTransfer, context: &Context<'_>) -> Option<Refusal> {
    use StatusReason as R;
    let Some(debtor) = context.participants.get(tx.debtor_agent) else {
        return Some(Refusal::new(R::RC09, "DbtrAgt is not a participant"));
    };
    if debtor.settler != context.sender {
        // A direct participant's own account is DS0G; an indirect one's, whose settler is another, AGNT.
        let reason = if debtor.settler == tx.debtor_agent {
            R::DS0G
        } else {
            R::AGNT
        };
        return Some(Refusal::new(
            reason,
            "the signer neither is DbtrAgt nor settles it",
        ));
    }
    (!debtor.active).then(|| Refusal::new(R::DS27, "DbtrAgt is not active"))
}

fn refuse_route(tx: &CreditTransfer, context: &Context<'_>) -> Option<Refusal> {
    use StatusReason as R;
    let Some(creditor) = context.participants.get(tx.creditor_agent) else {
        return Some(Refusal::new(R::RC10, "CdtrAgt is not a participant"));
    };
    if !creditor.active {
        return Some(Refusal::new(R::DS27, "CdtrAgt is not active"));
    }
    if creditor.settler == context.sender {
        return Some(Refusal::new(
            R::AG12,
            "payer and receiver settle in the same Conta PI",
        ));
    }
    refuse_third_parties(tx, context)
}

/// The others that an order names: who initiated it, and who hands out the cash. Both are known by an ISPB, the
/// initiator by the root of its CNPJ.
fn refuse_third_parties(tx: &CreditTransfer, context: &Context<'_>) -> Option<Refusal> {
    use StatusReason as R;
    let known = |ispb: Option<Ispb>| ispb.is_some_and(|ispb| context.participants.get(ispb).is_some());
    if tx
        .initiator
        .is_some_and(|cnpj| !known(Ispb::parse(&cnpj.as_str().as_bytes()[..8]).ok()))
    {
        return Some(Refusal::new(
            R::BE05,
            "the CNPJ of InitgPty is not that of a participant",
        ));
    }
    let document = tx
        .remittance
        .as_ref()
        .and_then(|remittance| remittance.structured.as_ref());
    document
        .is_some_and(|document| !known(Some(document.facilitator)))
        .then(|| Refusal::new(R::MD01, "the facilitator of the withdrawal is not a participant"))
}

/// When the SPI gives up on the payment; `None` when the payer's participant already used up its time.
fn deadline(group: &GroupHeader, tx: &CreditTransfer, received_at: Timestamp) -> Option<Timestamp> {
    match (group.priority, group.service_level) {
        (Priority::High, _) => {
            let age = received_at.since(tx.accepted_at);
            (age < VALIDATION_LIMIT).then(|| received_at.plus(SETTLEMENT_LIMIT.saturating_sub(age)))
        }
        (Priority::Normal, ServiceLevel::Scheduled) => Some(received_at.plus(SCHEDULED_LIMIT)),
        (Priority::Normal, _) => Some(received_at.plus(SETTLEMENT_LIMIT)),
    }
}
