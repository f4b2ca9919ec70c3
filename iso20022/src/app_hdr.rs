//! Envelope and business application header (`head.001` of the SPI).

use pix_domain::{Ispb, MsgId, Timestamp};

use crate::{Admi002, Pacs002, Pacs008};

/// The messages this crate speaks, with their versions in catalogue 5.13.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageDefinition {
    /// `pacs.008.spi.1.16`: order of payment.
    Pacs008,
    /// `pacs.002.spi.1.17`: status of a payment.
    Pacs002,
    /// `admi.002.spi.1.5`: a message that could not be processed.
    Admi002,
}

impl MessageDefinition {
    /// `MsgDefIdr`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pacs008 => "pacs.008.spi.1.16",
            Self::Pacs002 => "pacs.002.spi.1.17",
            Self::Admi002 => "admi.002.spi.1.5",
        }
    }

    /// Namespace of Envelope, AppHdr and Document.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Pacs008 => "https://www.bcb.gov.br/pi/pacs.008/1.16",
            Self::Pacs002 => "https://www.bcb.gov.br/pi/pacs.002/1.17",
            Self::Admi002 => "https://www.bcb.gov.br/pi/admi.002/1.5",
        }
    }
}

/// `AppHdr` without its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppHdr {
    /// `Fr`: who sends; `00038166` when it is the SPI.
    pub from: Ispb,
    /// `To`: who receives.
    pub to: Ispb,
    /// `BizMsgIdr`.
    pub message_id: MsgId,
    /// `MsgDefIdr`, which must agree with the namespace.
    pub definition: MessageDefinition,
    /// `CreDt`.
    pub created_at: Timestamp,
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The header.
    pub header: AppHdr,
    /// What it carries.
    pub document: Document,
}

/// What an envelope carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Order of payment.
    Pacs008(Pacs008),
    /// Status of payments.
    Pacs002(Pacs002),
    /// A message that could not be processed.
    Admi002(Admi002),
}
