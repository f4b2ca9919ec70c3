//! admi.002.spi.1.5, `admi.002.001.01`: a message that could not be processed.

use pix_domain::{Text, Timestamp};

/// Refusal of a whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admi002 {
    /// `RltdRef/Ref`: MsgId of the refused message, or its PI-ResourceId when it could not be read.
    pub reference: Text<33>,
    /// `Rsn/RjctgPtyRsn`: the short reason, e.g. `XML inválido`.
    pub reason: Text<35>,
    /// `Rsn/RjctnDtTm`.
    pub rejected_at: Option<Timestamp>,
    /// `Rsn/ErrLctn`.
    pub location: Option<Text<350>>,
    /// `Rsn/RsnDesc`.
    pub description: Option<Text<350>>,
    /// `Rsn/AddtlData`, e.g. `EndToEndId=...`.
    pub additional: Option<Text<1000>>,
}
