//! The messages, in the order of their schemas.

use std::ops::Range;

use pix_domain::{
    AccountNumber, AccountType, Branch, Cnpj, EndToEndId, InstructionId, Ispb, LocalInstrument, MsgId,
    Priority, Purpose, ServiceLevel, StatusReason, TaxId, TransactionStatus, TxId, WithdrawalAgent,
    WithdrawalAmountKind,
};
use pix_xmldsig::{CanonicalSignature, Token};

use crate::pacs_008::{
    AdjustmentAmount, CreditorAccount, DebtorAccount, DocumentNumber, Party, ReferredDocument, Remittance,
    SplitPaymentTax, TaxRecord, TaxType,
};
use crate::read::{Fault, Read, branch, count, date};
use crate::{
    Admi002, AppHdr, CreditTransfer, Document, Envelope, GroupHeader, MessageDefinition, Pacs002, Pacs008,
    StatusReasonInformation, TransactionStatusReport,
};

type Result<T> = std::result::Result<T, Fault>;

/// A typed message and where its parts stand in the input.
pub(crate) struct Parsed {
    pub(crate) envelope: Envelope,
    /// From behind the start tag of AppHdr to its end.
    pub(crate) app_hdr: Range<usize>,
    /// From behind the start tag of Document to its end.
    pub(crate) document: Range<usize>,
    /// What stood in `Sgntr`, if it was asked for.
    pub(crate) signature: Option<CanonicalSignature>,
}

/// What `Sgntr` must hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sgntr {
    /// A signature.
    Signature,
    /// Nothing: the signature was verified and taken out, or the message is a sample.
    Nothing,
}

impl MessageDefinition {
    const ALL: [Self; 3] = [Self::Pacs008, Self::Pacs002, Self::Admi002];

    pub(crate) fn of_namespace(namespace: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.namespace() == namespace)
    }
}

/// Reads a whole envelope.
pub(crate) fn envelope(read: &mut Read<'_>, sgntr: Sgntr) -> Result<Parsed> {
    read.cursor
        .skip_space()
        .map_err(|_| read.fault("is not written canonically"))?;
    let Token::Open(tag) = read.cursor.peek() else {
        return Err(read.fault("Envelope is missing"));
    };
    let namespace = tag
        .strip_prefix("Envelope xmlns=\"")
        .and_then(|t| t.strip_suffix('"'));
    let definition = namespace
        .and_then(MessageDefinition::of_namespace)
        .ok_or_else(|| read.unknown_definition())?;
    read.cursor
        .take()
        .map_err(|_| read.fault("is not written canonically"))?;
    let app_hdr_start = read.enter("AppHdr")?.end;
    let header = header(read, definition)?;
    read.enter("Sgntr")?;
    let signature = match sgntr {
        Sgntr::Signature => {
            let signature = CanonicalSignature::read(&mut read.cursor);
            Some(signature.map_err(|_| read.fault("the signature is not written canonically"))?)
        }
        Sgntr::Nothing => None,
    };
    read.leave()?;
    let app_hdr_end = read.leave()?.end;
    let document_start = read.enter("Document")?.end;
    let document = match definition {
        MessageDefinition::Pacs008 => Document::Pacs008(pacs_008(read)?),
        MessageDefinition::Pacs002 => Document::Pacs002(pacs_002(read)?),
        MessageDefinition::Admi002 => Document::Admi002(admi_002(read)?),
    };
    let document_end = read.leave()?.end;
    read.cursor
        .close("Envelope")
        .map_err(|_| read.fault("something follows Document"))?;
    read.finish()?;
    Ok(Parsed {
        envelope: Envelope { header, document },
        app_hdr: app_hdr_start..app_hdr_end,
        document: document_start..document_end,
        signature,
    })
}

fn header(read: &mut Read<'_>, definition: MessageDefinition) -> Result<AppHdr> {
    let from = read.within(["Fr", "FIId", "FinInstnId", "Othr"], |r| {
        r.value("Id", Ispb::parse)
    })?;
    let to = read.within(["To", "FIId", "FinInstnId", "Othr"], |r| {
        r.value("Id", Ispb::parse)
    })?;
    let message_id = read.value("BizMsgIdr", MsgId::parse)?;
    let named = read.value("MsgDefIdr", |wire| {
        Ok::<_, &str>(wire == definition.as_str().as_bytes())
    })?;
    if !named {
        return Err(read.unknown_definition());
    }
    let created_at = read.time("CreDt")?;
    Ok(AppHdr {
        from,
        to,
        message_id,
        definition,
        created_at,
    })
}

fn pacs_008(read: &mut Read<'_>) -> Result<Pacs008> {
    read.within(["FIToFICstmrCdtTrf"], |r| {
        let group = r.within(["GrpHdr"], group_header)?;
        let mut transactions = Vec::new();
        while transactions.is_empty() || r.ahead("CdtTrfTxInf")? {
            transactions.push(credit_transfer(r)?);
        }
        Ok(Pacs008 { group, transactions })
    })
}

fn group_header(read: &mut Read<'_>) -> Result<GroupHeader> {
    let message_id = read.value("MsgId", MsgId::parse)?;
    let created_at = read.time("CreDtTm")?;
    let number_of_transactions = read.value("NbOfTxs", count)?;
    read.within(["SttlmInf"], |r| r.fixed("SttlmMtd", "CLRG"))?;
    let (priority, service_level) = read.within(["PmtTpInf"], |r| {
        let priority = r.value("InstrPrty", Priority::parse)?;
        Ok((
            priority,
            r.within(["SvcLvl"], |r| r.value("Prtry", ServiceLevel::parse))?,
        ))
    })?;
    Ok(GroupHeader {
        message_id,
        created_at,
        number_of_transactions,
        priority,
        service_level,
    })
}

/// Reads one `CdtTrfTxInf`.
pub(crate) fn credit_transfer(read: &mut Read<'_>) -> Result<CreditTransfer> {
    read.begin_transaction();
    read.within(["CdtTrfTxInf"], |r| {
        let (instruction_id, end_to_end_id, tx_id) = r.within(["PmtId"], |r| {
            let instruction_id = r.optional_value("InstrId", InstructionId::parse)?;
            let end_to_end_id = r.value("EndToEndId", EndToEndId::parse)?;
            r.of_payment(end_to_end_id);
            Ok((
                instruction_id,
                end_to_end_id,
                r.optional_value("TxId", TxId::parse)?,
            ))
        })?;
        let amount = r.amount("IntrBkSttlmAmt", "IntrBkSttlmAmt Ccy=\"BRL\"")?;
        let accepted_at = r.time("AccptncDtTm")?;
        r.fixed("ChrgBr", "SLEV")?;
        Ok(CreditTransfer {
            instruction_id,
            end_to_end_id,
            tx_id,
            amount,
            accepted_at,
            local_instrument: r.within(["MndtRltdInf", "Tp", "LclInstrm"], |r| {
                r.value("Prtry", LocalInstrument::parse)
            })?,
            initiator: r.optional(["InitgPty", "Id", "OrgId", "Othr"], |r| {
                r.value("Id", Cnpj::parse)
            })?,
            debtor: r.within(["Dbtr"], |r| {
                Ok(Party {
                    name: r.text("Nm")?,
                    tax_id: private_id(r)?,
                })
            })?,
            debtor_account: r.within(["DbtrAcct"], |r| {
                let (number, branch) = account_id(r)?;
                Ok(DebtorAccount {
                    number,
                    branch,
                    kind: account_type(r)?,
                })
            })?,
            debtor_agent: agent(r, "DbtrAgt")?,
            creditor_agent: agent(r, "CdtrAgt")?,
            creditor: r.within(["Cdtr"], private_id)?,
            creditor_account: r.within(["CdtrAcct"], |r| {
                let (number, branch) = account_id(r)?;
                let kind = account_type(r)?;
                Ok(CreditorAccount {
                    number,
                    branch,
                    kind,
                    proxy: r.optional(["Prxy"], |r| r.text("Id"))?,
                })
            })?,
            purpose: r.within(["Purp"], |r| r.value("Cd", Purpose::parse))?,
            tax: r.optional(["Tax"], tax)?,
            remittance: r.optional(["RmtInf"], remittance)?,
        })
    })
}

fn private_id(read: &mut Read<'_>) -> Result<TaxId> {
    read.within(["Id", "PrvtId", "Othr"], |r| r.value("Id", TaxId::parse))
}

fn account_id(read: &mut Read<'_>) -> Result<(AccountNumber, Option<Branch>)> {
    read.within(["Id", "Othr"], |r| {
        Ok((
            r.value("Id", AccountNumber::parse)?,
            r.optional_value("Issr", branch)?,
        ))
    })
}

fn account_type(read: &mut Read<'_>) -> Result<AccountType> {
    read.within(["Tp"], |r| r.value("Cd", AccountType::parse))
}

fn agent(read: &mut Read<'_>, name: &'static str) -> Result<Ispb> {
    read.within([name, "FinInstnId", "ClrSysMmbId"], |r| {
        r.value("MmbId", Ispb::parse)
    })
}

fn tax(read: &mut Read<'_>) -> Result<SplitPaymentTax> {
    let reference = read.value("RefNb", |wire| {
        let text = std::str::from_utf8(wire).unwrap_or_default();
        DocumentNumber::parse(text).ok_or("the number of a document is 1 to 50 alphanumerics")
    })?;
    Ok(SplitPaymentTax {
        reference,
        records: [tax_record(read)?, tax_record(read)?],
    })
}

fn tax_record(read: &mut Read<'_>) -> Result<TaxRecord> {
    read.within(["Rcrd"], |r| {
        let kind = r.value("Tp", |wire| {
            TaxType::parse(wire).ok_or("the code is not CBSSPLIT or IBSSPLIT")
        })?;
        r.fixed("Ctgy", "INF")?;
        let amount = r.within(["TaxAmt"], |r| r.amount("TtlAmt", "TtlAmt Ccy=\"BRL\""))?;
        Ok(TaxRecord { kind, amount })
    })
}

fn remittance(read: &mut Read<'_>) -> Result<Remittance> {
    let unstructured = read.optional_text("Ustrd")?;
    Ok(Remittance {
        unstructured,
        structured: read.optional(["Strd"], referred_document)?,
    })
}

fn referred_document(read: &mut Read<'_>) -> Result<ReferredDocument> {
    let (agent, facilitator) = read.within(["RfrdDocInf", "Tp"], |r| {
        let agent = r.within(["CdOrPrtry"], |r| r.value("Prtry", WithdrawalAgent::parse))?;
        Ok((agent, r.value("Issr", Ispb::parse)?))
    })?;
    let amounts = read.within(["RfrdDocAmt"], |r| {
        let mut amounts: Vec<AdjustmentAmount> = Vec::with_capacity(2);
        while amounts.is_empty() || r.ahead("AdjstmntAmtAndRsn")? {
            let next = r.within(["AdjstmntAmtAndRsn"], |r| {
                let amount = r.amount("Amt", "Amt Ccy=\"BRL\"")?;
                Ok(AdjustmentAmount {
                    amount,
                    kind: r.value("Rsn", WithdrawalAmountKind::parse)?,
                })
            })?;
            // XSD `uniqueRsn`. With two kinds, it also holds the number to two.
            if amounts.iter().any(|a| a.kind == next.kind) {
                return Err(r.fault("the same Rsn twice"));
            }
            amounts.push(next);
        }
        Ok(amounts)
    })?;
    Ok(ReferredDocument {
        agent,
        facilitator,
        amounts,
    })
}

fn pacs_002(read: &mut Read<'_>) -> Result<Pacs002> {
    read.within(["FIToFIPmtStsRpt"], |r| {
        let (message_id, created_at) = r.within(["GrpHdr"], |r| {
            Ok((r.value("MsgId", MsgId::parse)?, r.time("CreDtTm")?))
        })?;
        let mut transactions = Vec::new();
        while transactions.is_empty() || r.ahead("TxInfAndSts")? {
            transactions.push(status_report(r)?);
        }
        Ok(Pacs002 {
            message_id,
            created_at,
            transactions,
        })
    })
}

/// Reads one `TxInfAndSts`.
pub(crate) fn status_report(read: &mut Read<'_>) -> Result<TransactionStatusReport> {
    read.begin_transaction();
    read.within(["TxInfAndSts"], |r| {
        let original_instruction_id = r.value("OrgnlInstrId", InstructionId::parse)?;
        let original_end_to_end_id = r.value("OrgnlEndToEndId", EndToEndId::parse)?;
        r.of_payment(original_end_to_end_id);
        let status = r.value("TxSts", TransactionStatus::parse)?;
        let mut reasons = Vec::new();
        while let Some(reason) = r.optional(["StsRsnInf"], reason)? {
            reasons.push(reason);
        }
        Ok(TransactionStatusReport {
            original_instruction_id,
            original_end_to_end_id,
            status,
            reasons,
            settled_at: r.optional(["FctvIntrBkSttlmDt"], |r| r.time("DtTm"))?,
            settlement_date: r.optional(["OrgnlTxRef"], |r| r.value("IntrBkSttlmDt", date))?,
        })
    })
}

fn reason(read: &mut Read<'_>) -> Result<StatusReasonInformation> {
    let code = read.optional(["Rsn"], |r| r.value("Cd", StatusReason::parse))?;
    let mut additional = Vec::new();
    while let Some(text) = read.optional_text("AddtlInf")? {
        additional.push(text);
    }
    Ok(StatusReasonInformation { code, additional })
}

fn admi_002(read: &mut Read<'_>) -> Result<Admi002> {
    read.within(["admi.002.001.01"], |r| {
        let reference = r.within(["RltdRef"], |r| r.text("Ref"))?;
        r.within(["Rsn"], |r| {
            let reason = r.text("RjctgPtyRsn")?;
            let rejected_at = if r.ahead("RjctnDtTm")? {
                Some(r.time("RjctnDtTm")?)
            } else {
                None
            };
            Ok(Admi002 {
                reference,
                reason,
                rejected_at,
                location: r.optional_text("ErrLctn")?,
                description: r.optional_text("RsnDesc")?,
                additional: r.optional_text("AddtlData")?,
            })
        })
    })
}
