//! Values and rules of Pix that every part of the switch shares. Pure: no I/O, no clock, no chance.
//!
//! Every type here has a private representation and one parsing constructor, so a value that exists
//! is valid and nothing below the door checks again. Rules name their source: `XSD` is the SPI
//! schema of the message, `rules` the fill-in sheet of the SPI catalogue.

mod account;
mod code;
mod id;
mod key;
mod money;
mod party;
mod reason;
mod text;
mod timestamp;

pub use account::{AccountNumber, AccountType, Branch, InvalidAccount};
pub use code::{
    InvalidCode, LocalInstrument, Priority, Purpose, ServiceLevel, TransactionStatus, WithdrawalAgent,
    WithdrawalAmountKind,
};
pub use id::{
    EndToEndId, InstructionId, InvalidId, InvalidIspb, Ispb, Month, MsgId, ResourceId, ReturnId, SPI_ISPB,
    TxId,
};
pub use key::{
    Category, Cid, InvalidCid, InvalidKey, InvalidRequestId, KEY_CHARS_MAX, Key, KeyType, RequestId, VSync,
    pattern as key_pattern,
};
pub use money::{InvalidMoney, Money};
pub use party::{Cnpj, InvalidTaxId, TaxId};
pub use reason::StatusReason;
pub use text::{InvalidText, Text};
pub use timestamp::{InvalidTimestamp, Timestamp};
