//! What the audit chain of a batch is made of.
//!
//! `hash(n) = SHA-256(hash(n-1) || record(n))`. A record holds one line per row of the batch, in sequence
//! order, from columns that are stored: whoever has the tables can compute it again.

use std::fmt::Write as _;

use pix_domain::{EndToEndId, Ispb, Month, ResourceId};

use crate::book::{Batch, FundingId};

/// One line of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A message taken in.
    Message {
        /// Sequence number.
        seq: i64,
        /// Its id.
        resource_id: ResourceId,
        /// SHA-256 of its bytes.
        digest: [u8; 32],
    },
    /// A payment named for the first time.
    Payment {
        /// Sequence number.
        seq: i64,
        /// Its name.
        end_to_end_id: EndToEndId,
        /// Whose Conta PI pays.
        payer: Ispb,
        /// Whose Conta PI is paid.
        receiver: Ispb,
        /// Centavos.
        amount: i64,
        /// Hash over its content.
        fingerprint: [u8; 32],
    },
    /// A step of a payment.
    Step {
        /// Sequence number.
        seq: i64,
        /// The payment's month.
        month: Month,
        /// The payment.
        end_to_end_id: EndToEndId,
        /// `blocked`, `settled`, `released` or `refused`.
        outcome: String,
        /// The reason code, or empty.
        reason: String,
    },
    /// Money moved.
    Posting {
        /// Sequence number.
        seq: i64,
        /// Account debited.
        debit: Ispb,
        /// Account credited.
        credit: Ispb,
        /// Centavos.
        amount: i64,
    },
    /// What a posting from or to the funding account was for.
    Funding {
        /// Sequence number.
        seq: i64,
        /// That of its posting.
        posting: i64,
        /// Its id.
        id: FundingId,
        /// The Conta PI.
        account: Ispb,
        /// Centavos; below zero they left.
        amount: i64,
        /// Centavos available after it.
        available_after: i64,
        /// Who ordered it.
        ordered_by: String,
    },
}

impl Line {
    /// Its sequence number.
    #[must_use]
    pub fn seq(&self) -> i64 {
        match self {
            Self::Message { seq, .. }
            | Self::Payment { seq, .. }
            | Self::Step { seq, .. }
            | Self::Posting { seq, .. }
            | Self::Funding { seq, .. } => *seq,
        }
    }

    fn write(&self, out: &mut String) {
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(String::new(), |text, b| text + &format!("{b:02x}"))
        };
        let written = match self {
            Self::Message {
                seq,
                resource_id,
                digest,
            } => {
                writeln!(out, "{seq} message {resource_id} {}", hex(digest))
            }
            Self::Payment {
                seq,
                end_to_end_id,
                payer,
                receiver,
                amount,
                fingerprint,
            } => {
                writeln!(
                    out,
                    "{seq} payment {end_to_end_id} {payer} {receiver} {amount} {}",
                    hex(fingerprint)
                )
            }
            Self::Step {
                seq,
                month,
                end_to_end_id,
                outcome,
                reason,
            } => {
                writeln!(
                    out,
                    "{seq} step {} {end_to_end_id} {outcome} {reason}",
                    month.get()
                )
            }
            Self::Posting {
                seq,
                debit,
                credit,
                amount,
            } => {
                writeln!(out, "{seq} posting {debit} {credit} {amount}")
            }
            Self::Funding {
                seq,
                posting,
                id,
                account,
                amount,
                available_after,
                ordered_by,
            } => {
                // Somebody's words, in digits: they cannot look like another line.
                writeln!(
                    out,
                    "{seq} funding {posting} {id} {account} {amount} {available_after} {}",
                    hex(ordered_by.as_bytes())
                )
            }
        };
        written.expect("writing to a String does not fail");
    }
}

/// The record of the batch `number` from its lines, in any order.
#[must_use]
pub fn record(number: i64, mut lines: Vec<Line>) -> Vec<u8> {
    lines.sort_by_key(Line::seq);
    let mut out = format!("batch {number}\n");
    for line in &lines {
        line.write(&mut out);
    }
    out.into_bytes()
}

/// The lines of a batch about to be written.
#[must_use]
pub fn lines(batch: &Batch) -> Vec<Line> {
    let messages = batch.messages.iter().map(|row| Line::Message {
        seq: row.seq,
        resource_id: row.inbound.resource_id,
        digest: row.inbound.digest,
    });
    let payments = batch.payments.iter().map(|row| Line::Payment {
        seq: row.seq,
        end_to_end_id: row.order.end_to_end_id,
        payer: row.order.payer,
        receiver: row.order.receiver,
        amount: row.order.amount.to_i64(),
        fingerprint: row.order.fingerprint,
    });
    let steps = batch.steps.iter().map(|row| Line::Step {
        seq: row.seq,
        month: row.month,
        end_to_end_id: row.end_to_end_id,
        outcome: row.end.as_ref().map_or("blocked", |end| end.as_str()).to_owned(),
        reason: row
            .end
            .as_ref()
            .and_then(|end| end.refusal())
            .map_or("", |r| r.reason.as_str())
            .to_owned(),
    });
    let postings = batch.postings.iter().map(|row| Line::Posting {
        seq: row.seq,
        debit: row.debit,
        credit: row.credit,
        amount: row.amount.to_i64(),
    });
    let fundings = batch.fundings.iter().map(|row| Line::Funding {
        seq: row.seq,
        posting: row.posting,
        id: row.funding.id,
        account: row.funding.account,
        amount: row.funding.amount,
        available_after: row.available_after,
        ordered_by: row.funding.ordered_by.to_string(),
    });
    let money = postings.chain(fundings);
    messages.chain(payments).chain(steps).chain(money).collect()
}
