//! pacs.002.spi.1.17, `FIToFIPmtStsRpt`: status of payments.

use pix_domain::{EndToEndId, InstructionId, MsgId, StatusReason, Text, Timestamp, TransactionStatus};

/// Status of one or more payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacs002 {
    /// `GrpHdr/MsgId`.
    pub message_id: MsgId,
    /// `GrpHdr/CreDtTm`.
    pub created_at: Timestamp,
    /// `TxInfAndSts`, at least one.
    pub transactions: Vec<TransactionStatusReport>,
}

/// `TxInfAndSts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionStatusReport {
    /// `OrgnlInstrId`: EndToEndId of the pacs.008, or RtrId of the pacs.004.
    pub original_instruction_id: InstructionId,
    /// `OrgnlEndToEndId`.
    pub original_end_to_end_id: EndToEndId,
    /// `TxSts`.
    pub status: TransactionStatus,
    /// `StsRsnInf`.
    pub reasons: Vec<StatusReasonInformation>,
    /// `FctvIntrBkSttlmDt/DtTm`: the instant of settlement, from the SPI only.
    pub settled_at: Option<Timestamp>,
    /// `OrgnlTxRef/IntrBkSttlmDt`: the accounting date as midnight UTC, from the SPI only.
    pub settlement_date: Option<Timestamp>,
}

/// `StsRsnInf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusReasonInformation {
    /// `Rsn/Cd`.
    pub code: Option<StatusReason>,
    /// `AddtlInf`.
    pub additional: Vec<Text<105>>,
}
