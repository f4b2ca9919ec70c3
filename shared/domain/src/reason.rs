//! Why a transaction was refused.

use crate::InvalidCode;
use crate::code::code;

code! {
    /// `StsRsnInf/Rsn/Cd` of pacs.002 1.17 (XSD `ExternalStatusReason1Code`).
    #[expect(missing_docs, reason = "the codes are their own names; `meaning` says what each stands for")]
    StatusReason, "StsRsnInf",
    AB03 = "AB03", AB09 = "AB09", AB11 = "AB11", AC03 = "AC03", AC06 = "AC06", AC07 = "AC07", AC14 = "AC14",
    AG03 = "AG03", AG12 = "AG12", AG13 = "AG13", AGNT = "AGNT", AM01 = "AM01", AM02 = "AM02", AM04 = "AM04",
    AM09 = "AM09", AM12 = "AM12", AM18 = "AM18", AM23 = "AM23", BE01 = "BE01", BE05 = "BE05", BE15 = "BE15",
    BE17 = "BE17", CH11 = "CH11", CH16 = "CH16", CN01 = "CN01", DS02 = "DS02", DS04 = "DS04", DS0G = "DS0G",
    DS27 = "DS27", DT02 = "DT02", DT05 = "DT05", DU03 = "DU03", DUPL = "DUPL", ED05 = "ED05", FF07 = "FF07",
    FF08 = "FF08", FRAD = "FRAD", INDT = "INDT", MD01 = "MD01", RC09 = "RC09", RC10 = "RC10", RR04 = "RR04",
    RR06 = "RR06", SL02 = "SL02", UPAY = "UPAY",
}

impl StatusReason {
    /// What the code means, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::AB03 => "settlement timed out",
            Self::AB09 => "error at the receiver's participant",
            Self::AB11 => "the payer's participant took too long",
            Self::AC03 => "branch or account of the receiver does not exist",
            Self::AC06 => "the receiver's account is blocked",
            Self::AC07 => "the receiver's account is closed",
            Self::AC14 => "wrong type of the receiver's account",
            Self::AG03 => "the receiver's account does not take this kind of transaction",
            Self::AG12 => "payer and receiver settle in the same account: a book transfer",
            Self::AG13 => "a return cannot be returned",
            Self::AGNT => "the sender is not the settler of the payer's participant",
            Self::AM01 => "the amount is zero",
            Self::AM02 => "above the limit of the credited account",
            Self::AM04 => "not enough balance in the Conta PI",
            Self::AM09 => "more than the original payment",
            Self::AM12 => "the parts of the amount do not add up",
            Self::AM18 => "the number of transactions does not match",
            Self::AM23 => "above the settlement limit",
            Self::BE01 => "CPF or CNPJ does not match the account's holder",
            Self::BE05 => "the payment initiator is not registered",
            Self::BE15 => "the reconciliation id is wrong",
            Self::BE17 => "the QR code was refused",
            Self::CH11 => "CPF or CNPJ of the receiver is wrong",
            Self::CH16 => "content against the business rules",
            Self::CN01 => "the recurring payment was cancelled",
            Self::DS02 => "sending is blocked",
            Self::DS04 => "refused by the receiver's participant",
            Self::DS0G => "the signer may not debit this Conta PI",
            Self::DS27 => "the participant is not registered or not active",
            Self::DT02 => "date and time of the message are invalid",
            Self::DT05 => "past the term for a return",
            Self::DU03 => "another transaction has this EndToEndId",
            Self::DUPL => "paid twice",
            Self::ED05 => "settlement failed",
            Self::FF07 => "purpose and structured remittance do not match",
            Self::FF08 => "the EndToEndId is invalid",
            Self::FRAD => "suspicion of fraud",
            Self::INDT => "invalid identification of the transaction",
            Self::MD01 => "the withdrawal facilitator is unknown",
            Self::RC09 => "ISPB of the payer's participant is invalid",
            Self::RC10 => "ISPB of the receiver's participant is invalid",
            Self::RR04 => "regulatory reason",
            Self::RR06 => "tax reason",
            Self::SL02 => "not a withdrawal or cash-back transaction",
            Self::UPAY => "no valid recurrence",
        }
    }
}
