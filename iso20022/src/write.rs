//! Writing: exclusive C14N from the start, so that what is written is what is digested.

use pix_domain::{Branch, Money, MsgId, Text, Timestamp};
use pix_xmldsig::{Signer, digest, escape, sign_spi};

use crate::pacs_008::{ReferredDocument, Remittance, SplitPaymentTax};
use crate::{
    Admi002, AppHdr, CreditTransfer, Document, Envelope, GroupHeader, MessageDefinition,
    StatusReasonInformation, TransactionStatusReport,
};

/// What the fields of a pacs.008's group header do not follow from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pacs008Group {
    /// `InstrPrty`.
    pub priority: pix_domain::Priority,
    /// `SvcLvl/Prtry`.
    pub service_level: pix_domain::ServiceLevel,
}

/// Canonical `<CdtTrfTxInf>` without a namespace declaration: durable bytes that many messages may carry.
#[must_use]
pub fn credit_transfer_fragment(tx: &CreditTransfer) -> Vec<u8> {
    let mut out = Out::with_capacity(1280);
    out.credit_transfer(tx);
    out.0
}

/// Canonical `<TxInfAndSts>` without a namespace declaration.
#[must_use]
pub fn status_report_fragment(tx: &TransactionStatusReport) -> Vec<u8> {
    let mut out = Out::with_capacity(512);
    out.status_report(tx);
    out.0
}

/// `<Document>` of a pacs.008 over fragments of [`credit_transfer_fragment`].
#[must_use]
pub fn pacs_008_document<F: AsRef<[u8]>>(
    message_id: MsgId,
    created_at: Timestamp,
    group: &Pacs008Group,
    fragments: &[F],
) -> Vec<u8> {
    let header = GroupHeader {
        message_id,
        created_at,
        number_of_transactions: u64::try_from(fragments.len()).expect("a message has fewer than 2^64"),
        priority: group.priority,
        service_level: group.service_level,
    };
    pacs_008_with_header(&header, fragments)
}

fn pacs_008_with_header<F: AsRef<[u8]>>(header: &GroupHeader, fragments: &[F]) -> Vec<u8> {
    let mut out = Out::document(fragments);
    out.raw("<Document><FIToFICstmrCdtTrf><GrpHdr>");
    out.leaf("MsgId", header.message_id.as_str());
    out.time("CreDtTm", header.created_at);
    out.leaf("NbOfTxs", &header.number_of_transactions.to_string());
    out.raw("<SttlmInf><SttlmMtd>CLRG</SttlmMtd></SttlmInf><PmtTpInf>");
    out.leaf("InstrPrty", header.priority.as_str());
    out.raw("<SvcLvl>");
    out.leaf("Prtry", header.service_level.as_str());
    out.raw("</SvcLvl></PmtTpInf></GrpHdr>");
    out.fragments(fragments);
    out.raw("</FIToFICstmrCdtTrf></Document>");
    out.0
}

/// `<Document>` of a pacs.002 over fragments of [`status_report_fragment`].
#[must_use]
pub fn pacs_002_document<F: AsRef<[u8]>>(
    message_id: MsgId,
    created_at: Timestamp,
    fragments: &[F],
) -> Vec<u8> {
    let mut out = Out::document(fragments);
    out.raw("<Document><FIToFIPmtStsRpt><GrpHdr>");
    out.leaf("MsgId", message_id.as_str());
    out.time("CreDtTm", created_at);
    out.raw("</GrpHdr>");
    out.fragments(fragments);
    out.raw("</FIToFIPmtStsRpt></Document>");
    out.0
}

/// `<Document>` of an admi.002.
#[must_use]
pub fn admi_002_document(admi: &Admi002) -> Vec<u8> {
    let mut out = Out::with_capacity(1024);
    out.raw("<Document><admi.002.001.01><RltdRef>");
    out.text("Ref", &admi.reference);
    out.raw("</RltdRef><Rsn>");
    out.text("RjctgPtyRsn", &admi.reason);
    if let Some(at) = admi.rejected_at {
        out.time("RjctnDtTm", at);
    }
    out.optional("ErrLctn", admi.location.as_ref());
    out.optional("RsnDesc", admi.description.as_ref());
    out.optional("AddtlData", admi.additional.as_ref());
    out.raw("</Rsn></admi.002.001.01></Document>");
    out.0
}

/// Canonical `<Document>` of any message.
#[must_use]
pub fn document(document: &Document) -> Vec<u8> {
    match document {
        Document::Pacs008(p) => {
            let fragments: Vec<_> = p.transactions.iter().map(credit_transfer_fragment).collect();
            pacs_008_with_header(&p.group, &fragments)
        }
        Document::Pacs002(p) => {
            let fragments: Vec<_> = p.transactions.iter().map(status_report_fragment).collect();
            pacs_002_document(p.message_id, p.created_at, &fragments)
        }
        Document::Admi002(a) => admi_002_document(a),
    }
}

/// Signs and assembles: the whole `<Envelope>`, canonical, without an XML declaration.
///
/// `document` is what one of the `*_document` functions gave. `key_info_id` must be new to each message only
/// so far as participants expect it; 1 to 128 of `A-Z a-z 0-9 _ - . :`.
///
/// # Panics
/// When `document` does not begin with `<Document>`, or on a `key_info_id` of another form.
#[must_use]
pub fn seal(header: &AppHdr, document: &[u8], signer: &Signer, key_info_id: &str) -> Vec<u8> {
    let namespace = header.definition.namespace();
    let inner = app_hdr_inner(header);
    let document_inner = document
        .strip_prefix(b"<Document>")
        .expect("a document of ours begins with its tag");
    let app_hdr = digest(&[
        b"<AppHdr xmlns=\"",
        namespace.as_bytes(),
        b"\">",
        &inner,
        b"<Sgntr></Sgntr></AppHdr>",
    ]);
    let document_digest = digest(&[
        b"<Document xmlns=\"",
        namespace.as_bytes(),
        b"\">",
        document_inner,
    ]);
    let signature = sign_spi(signer, key_info_id, &app_hdr, &document_digest);
    assemble(namespace, &inner, signature.as_bytes(), document)
}

/// [`seal`] of a typed message.
///
/// # Panics
/// As [`seal`], and when the header defines another message than the document is.
#[must_use]
pub fn seal_envelope(envelope: &Envelope, signer: &Signer, key_info_id: &str) -> Vec<u8> {
    assert_eq!(
        envelope.header.definition,
        MessageDefinition::of(&envelope.document)
    );
    seal(
        &envelope.header,
        &document(&envelope.document),
        signer,
        key_info_id,
    )
}

/// The whole `<Envelope>` with an empty `Sgntr`, as the official samples are published. Nobody accepts it.
#[must_use]
pub fn unsigned(envelope: &Envelope) -> Vec<u8> {
    let namespace = envelope.header.definition.namespace();
    assemble(
        namespace,
        &app_hdr_inner(&envelope.header),
        b"",
        &document(&envelope.document),
    )
}

fn assemble(namespace: &str, app_hdr_inner: &[u8], signature: &[u8], document: &[u8]) -> Vec<u8> {
    [
        b"<Envelope xmlns=\"".as_slice(),
        namespace.as_bytes(),
        b"\"><AppHdr>",
        app_hdr_inner,
        b"<Sgntr>",
        signature,
        b"</Sgntr></AppHdr>",
        document,
        b"</Envelope>",
    ]
    .concat()
}

/// What stands in the AppHdr before `Sgntr`.
fn app_hdr_inner(header: &AppHdr) -> Vec<u8> {
    let mut out = Out::with_capacity(512);
    for (name, ispb) in [("Fr", header.from), ("To", header.to)] {
        out.open(name);
        out.raw("<FIId><FinInstnId><Othr>");
        out.leaf("Id", ispb.as_str());
        out.raw("</Othr></FinInstnId></FIId>");
        out.close(name);
    }
    out.leaf("BizMsgIdr", header.message_id.as_str());
    out.leaf("MsgDefIdr", header.definition.as_str());
    out.time("CreDt", header.created_at);
    out.0
}

impl MessageDefinition {
    /// Of what `document` is.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        match document {
            Document::Pacs008(_) => Self::Pacs008,
            Document::Pacs002(_) => Self::Pacs002,
            Document::Admi002(_) => Self::Admi002,
        }
    }
}

struct Out(Vec<u8>);

impl Out {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn document<F: AsRef<[u8]>>(fragments: &[F]) -> Self {
        Self::with_capacity(512 + fragments.iter().map(|f| f.as_ref().len()).sum::<usize>())
    }

    fn raw(&mut self, xml: &str) {
        self.0.extend_from_slice(xml.as_bytes());
    }

    fn open(&mut self, name: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
    }

    fn close(&mut self, name: &str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    /// `value` has no character that needs an escape.
    fn leaf(&mut self, name: &str, value: &str) {
        self.open(name);
        self.raw(value);
        self.close(name);
    }

    fn text<const MAX: usize>(&mut self, name: &str, text: &Text<MAX>) {
        self.leaf(name, &escape::text(text.as_str()));
    }

    fn optional<const MAX: usize>(&mut self, name: &str, text: Option<&Text<MAX>>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn time(&mut self, name: &str, at: Timestamp) {
        self.open(name);
        self.0.extend_from_slice(&at.to_wire());
        self.close(name);
    }

    fn amount(&mut self, name: &str, amount: Money) {
        self.raw("<");
        self.raw(name);
        self.raw(" Ccy=\"BRL\">");
        self.raw(&amount.to_string());
        self.close(name);
    }

    fn fragments<F: AsRef<[u8]>>(&mut self, fragments: &[F]) {
        for fragment in fragments {
            self.0.extend_from_slice(fragment.as_ref());
        }
    }

    fn credit_transfer(&mut self, tx: &CreditTransfer) {
        self.raw("<CdtTrfTxInf><PmtId>");
        if let Some(id) = &tx.instruction_id {
            self.leaf("InstrId", id.as_str());
        }
        self.leaf("EndToEndId", tx.end_to_end_id.as_str());
        if let Some(id) = &tx.tx_id {
            self.leaf("TxId", id.as_str());
        }
        self.raw("</PmtId>");
        self.amount("IntrBkSttlmAmt", tx.amount);
        self.time("AccptncDtTm", tx.accepted_at);
        self.raw("<ChrgBr>SLEV</ChrgBr><MndtRltdInf><Tp><LclInstrm>");
        self.leaf("Prtry", tx.local_instrument.as_str());
        self.raw("</LclInstrm></Tp></MndtRltdInf>");
        if let Some(initiator) = &tx.initiator {
            self.raw("<InitgPty><Id><OrgId><Othr>");
            self.leaf("Id", initiator.as_str());
            self.raw("</Othr></OrgId></Id></InitgPty>");
        }
        self.raw("<Dbtr>");
        self.text("Nm", &tx.debtor.name);
        self.private_id(tx.debtor.tax_id.as_str());
        self.raw("</Dbtr><DbtrAcct>");
        self.account(
            tx.debtor_account.number.as_str(),
            tx.debtor_account.branch,
            tx.debtor_account.kind.as_str(),
        );
        self.raw("</DbtrAcct>");
        self.agent("DbtrAgt", tx.debtor_agent.as_str());
        self.agent("CdtrAgt", tx.creditor_agent.as_str());
        self.raw("<Cdtr>");
        self.private_id(tx.creditor.as_str());
        self.raw("</Cdtr><CdtrAcct>");
        let account = &tx.creditor_account;
        self.account(account.number.as_str(), account.branch, account.kind.as_str());
        if let Some(key) = &account.proxy {
            self.raw("<Prxy>");
            self.text("Id", key);
            self.raw("</Prxy>");
        }
        self.raw("</CdtrAcct><Purp>");
        self.leaf("Cd", tx.purpose.as_str());
        self.raw("</Purp>");
        if let Some(tax) = &tx.tax {
            self.tax(tax);
        }
        if let Some(remittance) = &tx.remittance {
            self.remittance(remittance);
        }
        self.raw("</CdtTrfTxInf>");
    }

    fn private_id(&mut self, id: &str) {
        self.raw("<Id><PrvtId><Othr>");
        self.leaf("Id", id);
        self.raw("</Othr></PrvtId></Id>");
    }

    fn account(&mut self, number: &str, branch: Option<Branch>, kind: &str) {
        self.raw("<Id><Othr>");
        self.leaf("Id", number);
        if let Some(branch) = branch {
            self.leaf("Issr", &branch.to_string());
        }
        self.raw("</Othr></Id><Tp>");
        self.leaf("Cd", kind);
        self.raw("</Tp>");
    }

    fn agent(&mut self, name: &str, ispb: &str) {
        self.open(name);
        self.raw("<FinInstnId><ClrSysMmbId>");
        self.leaf("MmbId", ispb);
        self.raw("</ClrSysMmbId></FinInstnId>");
        self.close(name);
    }

    fn tax(&mut self, tax: &SplitPaymentTax) {
        self.raw("<Tax>");
        self.leaf("RefNb", tax.reference.as_str());
        for record in &tax.records {
            self.raw("<Rcrd>");
            self.leaf("Tp", record.kind.as_str());
            self.raw("<Ctgy>INF</Ctgy><TaxAmt>");
            self.amount("TtlAmt", record.amount);
            self.raw("</TaxAmt></Rcrd>");
        }
        self.raw("</Tax>");
    }

    fn remittance(&mut self, remittance: &Remittance) {
        self.raw("<RmtInf>");
        self.optional("Ustrd", remittance.unstructured.as_ref());
        if let Some(document) = &remittance.structured {
            self.referred_document(document);
        }
        self.raw("</RmtInf>");
    }

    fn referred_document(&mut self, document: &ReferredDocument) {
        self.raw("<Strd><RfrdDocInf><Tp><CdOrPrtry>");
        self.leaf("Prtry", document.agent.as_str());
        self.raw("</CdOrPrtry>");
        self.leaf("Issr", document.facilitator.as_str());
        self.raw("</Tp></RfrdDocInf><RfrdDocAmt>");
        for part in &document.amounts {
            self.raw("<AdjstmntAmtAndRsn>");
            self.amount("Amt", part.amount);
            self.leaf("Rsn", part.kind.as_str());
            self.raw("</AdjstmntAmtAndRsn>");
        }
        self.raw("</RfrdDocAmt></Strd>");
    }

    fn status_report(&mut self, tx: &TransactionStatusReport) {
        self.raw("<TxInfAndSts>");
        self.leaf("OrgnlInstrId", tx.original_instruction_id.as_str());
        self.leaf("OrgnlEndToEndId", tx.original_end_to_end_id.as_str());
        self.leaf("TxSts", tx.status.as_str());
        for reason in &tx.reasons {
            self.reason(reason);
        }
        if let Some(at) = tx.settled_at {
            self.raw("<FctvIntrBkSttlmDt>");
            self.time("DtTm", at);
            self.raw("</FctvIntrBkSttlmDt>");
        }
        if let Some(date) = tx.settlement_date {
            self.raw("<OrgnlTxRef>");
            self.leaf("IntrBkSttlmDt", &date.date_text());
            self.raw("</OrgnlTxRef>");
        }
        self.raw("</TxInfAndSts>");
    }

    fn reason(&mut self, reason: &StatusReasonInformation) {
        self.raw("<StsRsnInf>");
        if let Some(code) = reason.code {
            self.raw("<Rsn>");
            self.leaf("Cd", code.as_str());
            self.raw("</Rsn>");
        }
        for text in &reason.additional {
            self.text("AddtlInf", text);
        }
        self.raw("</StsRsnInf>");
    }
}
