//! SPI messages of catalogue 5.13.1: typed, parsed straight from XML events, written canonically, signed.
//!
//! [`open`] takes the bytes of one envelope, verifies its signature and gives the typed [`Envelope`];
//! [`seal`] writes and signs one. What is between is pure: no I/O, no clock, no chance.

mod admi_002;
mod app_hdr;
mod messages;
mod open;
mod pacs_002;
mod pacs_008;
mod read;
pub mod rules;
mod unreadable;
mod write;

pub use admi_002::Admi002;
pub use app_hdr::{AppHdr, Document, Envelope, MessageDefinition};
pub use open::{
    MESSAGE_BYTES_MAX, Opened, Path, open, open_fast, open_generic, parse_credit_transfer_fragment,
    parse_status_report_fragment, parse_unsigned,
};
pub use pacs_002::{Pacs002, StatusReasonInformation, TransactionStatusReport};
pub use pacs_008::{
    AdjustmentAmount, CreditTransfer, CreditorAccount, DebtorAccount, DocumentNumber, GroupHeader, Pacs008,
    Party, ReferredDocument, Remittance, SplitPaymentTax, TaxRecord, TaxType,
};
pub use unreadable::{Unreadable, UnreadableKind};
pub use write::{
    Pacs008Group, admi_002_document, credit_transfer_fragment, document, pacs_002_document,
    pacs_008_document, seal, seal_envelope, status_report_fragment, unsigned,
};
