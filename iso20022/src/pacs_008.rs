//! pacs.008.spi.1.16, `FIToFICstmrCdtTrf`: an order of payment.

use pix_domain::{
    AccountNumber, AccountType, Branch, Cnpj, EndToEndId, InstructionId, Ispb, LocalInstrument, Money, MsgId,
    Priority, Purpose, ServiceLevel, TaxId, Text, Timestamp, TxId, WithdrawalAgent, WithdrawalAmountKind,
};

/// An order of one or more payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacs008 {
    /// `GrpHdr`.
    pub group: GroupHeader,
    /// `CdtTrfTxInf`: 1..10, or 1..500 when the service level is PAGAGD.
    pub transactions: Vec<CreditTransfer>,
}

/// `GrpHdr`. `SttlmMtd` is always `CLRG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// `MsgId`.
    pub message_id: MsgId,
    /// `CreDtTm`.
    pub created_at: Timestamp,
    /// `NbOfTxs` as it was written (1 to 15 digits); it may disagree with the transactions (AM18).
    pub number_of_transactions: u64,
    /// `InstrPrty`.
    pub priority: Priority,
    /// `SvcLvl/Prtry`.
    pub service_level: ServiceLevel,
}

/// `CdtTrfTxInf`: one payment. `ChrgBr` is always `SLEV`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditTransfer {
    /// `PmtId/InstrId`.
    pub instruction_id: Option<InstructionId>,
    /// `PmtId/EndToEndId`.
    pub end_to_end_id: EndToEndId,
    /// `PmtId/TxId`.
    pub tx_id: Option<TxId>,
    /// `IntrBkSttlmAmt`, BRL.
    pub amount: Money,
    /// `AccptncDtTm`: when the payer asked for it.
    pub accepted_at: Timestamp,
    /// `MndtRltdInf/Tp/LclInstrm/Prtry`.
    pub local_instrument: LocalInstrument,
    /// `InitgPty/Id/OrgId/Othr/Id`: the payment initiator.
    pub initiator: Option<Cnpj>,
    /// `Dbtr`: the payer.
    pub debtor: Party,
    /// `DbtrAcct`.
    pub debtor_account: DebtorAccount,
    /// `DbtrAgt`: the payer's participant.
    pub debtor_agent: Ispb,
    /// `CdtrAgt`: the receiver's participant.
    pub creditor_agent: Ispb,
    /// `Cdtr/Id/PrvtId/Othr/Id`: the receiver, who has no name here.
    pub creditor: TaxId,
    /// `CdtrAcct`.
    pub creditor_account: CreditorAccount,
    /// `Purp/Cd`.
    pub purpose: Purpose,
    /// `Tax`: split payment.
    pub tax: Option<SplitPaymentTax>,
    /// `RmtInf`; present but empty differs from absent.
    pub remittance: Option<Remittance>,
}

/// `Dbtr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// `Nm`.
    pub name: Text<140>,
    /// `Id/PrvtId/Othr/Id`.
    pub tax_id: TaxId,
}

/// `DbtrAcct`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebtorAccount {
    /// `Id/Othr/Id`.
    pub number: AccountNumber,
    /// `Id/Othr/Issr`.
    pub branch: Option<Branch>,
    /// `Tp/Cd`.
    pub kind: AccountType,
}

/// `CdtrAcct`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditorAccount {
    /// `Id/Othr/Id`.
    pub number: AccountNumber,
    /// `Id/Othr/Issr`.
    pub branch: Option<Branch>,
    /// `Tp/Cd`.
    pub kind: AccountType,
    /// `Prxy/Id`: the key.
    pub proxy: Option<Text<77>>,
}

/// `RmtInf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remittance {
    /// `Ustrd`.
    pub unstructured: Option<Text<140>>,
    /// `Strd`: of withdrawal and cash back.
    pub structured: Option<ReferredDocument>,
}

/// `Strd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferredDocument {
    /// `RfrdDocInf/Tp/CdOrPrtry/Prtry`.
    pub agent: WithdrawalAgent,
    /// `RfrdDocInf/Tp/Issr`: the facilitator.
    pub facilitator: Ispb,
    /// `RfrdDocAmt/AdjstmntAmtAndRsn`, 1..2, each kind once.
    pub amounts: Vec<AdjustmentAmount>,
}

/// `AdjstmntAmtAndRsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjustmentAmount {
    /// `Amt`, BRL.
    pub amount: Money,
    /// `Rsn`.
    pub kind: WithdrawalAmountKind,
}

/// `RefNb` of a fiscal document, 1 to 50 alphanumerics (XSD `DocFiscalType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentNumber(Box<str>);

impl DocumentNumber {
    /// Reads 1 to 50 alphanumerics; nothing when the pattern does not hold.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let holds = (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        holds.then(|| Self(text.into()))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `Tax`: exactly two records, both of category `INF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPaymentTax {
    /// `RefNb`.
    pub reference: DocumentNumber,
    /// `Rcrd`.
    pub records: [TaxRecord; 2],
}

/// `Rcrd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxRecord {
    /// `Tp`.
    pub kind: TaxType,
    /// `TaxAmt/TtlAmt`, BRL.
    pub amount: Money,
}

/// `Tax/Rcrd/Tp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaxType {
    /// `CBSSPLIT`.
    Cbs,
    /// `IBSSPLIT`.
    Ibs,
}

impl TaxType {
    /// Reads the code.
    #[must_use]
    pub fn parse(wire: &[u8]) -> Option<Self> {
        match wire {
            b"CBSSPLIT" => Some(Self::Cbs),
            b"IBSSPLIT" => Some(Self::Ibs),
            _ => None,
        }
    }

    /// The code as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cbs => "CBSSPLIT",
            Self::Ibs => "IBSSPLIT",
        }
    }
}
