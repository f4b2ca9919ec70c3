//! Keys and messages of a fictional bank.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use iso20022::{
    Admi002, AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document, Envelope, GroupHeader,
    MessageDefinition, Pacs002, Pacs008, Party, Remittance, StatusReasonInformation, TransactionStatusReport,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, EndToEndId, Ispb, LocalInstrument, Money, MsgId, Priority, Purpose,
    SPI_ISPB, ServiceLevel, StatusReason, TaxId, Text, Timestamp, TransactionStatus,
};
use pix_pki::{Authority, Identity, Subject, Use, Validity};
use pix_xmldsig::{Signer, VerifyingKey};

pub(crate) const KEY_INFO_ID: &str = "key-info-id";

pub(crate) struct Bank {
    pub(crate) identity: Identity,
    pub(crate) signer: Signer,
    pub(crate) key: VerifyingKey,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::parse(b"2026-11-21T12:00:00.000Z").expect("valid")
}

fn new_bank(name: &str) -> Bank {
    let authority = Authority::new("AC de teste, \"raiz\"", Validity::long(now())).expect("an authority");
    let subject = Subject {
        common_name: name.to_owned(),
        ispb: Some(ispb("11111111")),
    };
    let identity = authority
        .issue(&subject, Use::Signature, Validity::long(now()))
        .expect("a certificate");
    let signer = Signer::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes());
    let key = VerifyingKey::from_certificate_pem(identity.certificate_pem.as_bytes());
    Bank {
        signer: signer.expect("the key fits"),
        key: key.expect("RSA"),
        identity,
    }
}

pub(crate) fn bank() -> &'static Bank {
    static BANK: OnceLock<Bank> = OnceLock::new();
    BANK.get_or_init(|| new_bank("Banco Aurora"))
}

pub(crate) fn stranger() -> Bank {
    new_bank("Ninguém")
}

pub(crate) fn ispb(text: &str) -> Ispb {
    Ispb::parse(text.as_bytes()).expect("an ISPB")
}

pub(crate) fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::parse(text).expect("a text")
}

/// One payment by account data, as [`iso20022::rules`] like it.
pub(crate) fn transfer(n: u128) -> CreditTransfer {
    CreditTransfer {
        instruction_id: None,
        end_to_end_id: EndToEndId::new(ispb("11111111"), now(), n),
        tx_id: None,
        amount: Money::from_centavos(1_050),
        accepted_at: now(),
        local_instrument: LocalInstrument::Manual,
        initiator: None,
        debtor: Party {
            name: text("Ana <Souza> & \"Filhos\""),
            tax_id: TaxId::parse(b"52998224725").expect("a CPF"),
        },
        debtor_account: DebtorAccount {
            number: AccountNumber::parse(b"100001").expect("a number"),
            branch: Some(Branch::parse(b"0001").expect("a branch")),
            kind: AccountType::Current,
        },
        debtor_agent: ispb("11111111"),
        creditor_agent: ispb("22222222"),
        creditor: TaxId::parse(b"12ABC34501DE35").expect("a CNPJ"),
        creditor_account: CreditorAccount {
            number: AccountNumber::parse(b"20000X").expect("a number"),
            branch: None,
            kind: AccountType::Savings,
            proxy: None,
        },
        purpose: Purpose::InstantPayment,
        tax: None,
        remittance: Some(Remittance {
            unstructured: Some(text("almoço\r\nde sábado")),
            structured: None,
        }),
    }
}

fn header(definition: MessageDefinition, from: Ispb, to: Ispb) -> AppHdr {
    AppHdr {
        from,
        to,
        message_id: MsgId::new(from, 7),
        definition,
        created_at: now(),
    }
}

pub(crate) fn order(transactions: u128) -> Envelope {
    let header = header(MessageDefinition::Pacs008, ispb("11111111"), SPI_ISPB);
    let group = GroupHeader {
        message_id: header.message_id,
        created_at: now(),
        number_of_transactions: u64::try_from(transactions).expect("few"),
        priority: Priority::High,
        service_level: ServiceLevel::Priority,
    };
    let transactions = (0..transactions).map(transfer).collect();
    Envelope {
        header,
        document: Document::Pacs008(Pacs008 { group, transactions }),
    }
}

pub(crate) fn refusal() -> TransactionStatusReport {
    TransactionStatusReport {
        original_instruction_id: transfer(1).end_to_end_id.into(),
        original_end_to_end_id: transfer(1).end_to_end_id,
        status: TransactionStatus::Rejected,
        reasons: vec![
            StatusReasonInformation {
                code: Some(StatusReason::AC03),
                additional: vec![text("conta > 0"), text("e agência")],
            },
            StatusReasonInformation::default(),
        ],
        settled_at: None,
        settlement_date: None,
    }
}

pub(crate) fn status() -> Envelope {
    let header = header(MessageDefinition::Pacs002, SPI_ISPB, ispb("11111111"));
    let settled = TransactionStatusReport {
        status: TransactionStatus::SettledDebtor,
        reasons: Vec::new(),
        settled_at: Some(now()),
        settlement_date: Some(Timestamp::parse(b"2026-11-21T00:00:00.000Z").expect("valid")),
        ..refusal()
    };
    let document = Document::Pacs002(Pacs002 {
        message_id: header.message_id,
        created_at: now(),
        transactions: vec![refusal(), settled],
    });
    Envelope { header, document }
}

pub(crate) fn admi() -> Envelope {
    let header = header(MessageDefinition::Admi002, SPI_ISPB, ispb("11111111"));
    let document = Document::Admi002(Admi002 {
        reference: text("UEkBbgR78VqKK/uvuq9O0r9bqXyBH9Ur"),
        reason: text("XML inválido"),
        rejected_at: Some(now()),
        location: Some(text("Envelope/Document")),
        description: None,
        additional: Some(text("EndToEndId=?")),
    });
    Envelope { header, document }
}

pub(crate) fn sealed(envelope: &Envelope) -> String {
    let bytes = iso20022::seal_envelope(envelope, &bank().signer, KEY_INFO_ID);
    String::from_utf8(bytes).expect("XML is UTF-8")
}

/// The folder of official files, or a notice that the test was skipped.
pub(crate) fn spec() -> Option<PathBuf> {
    let dir = std::env::var_os("PIX_SPEC_DIR").map(PathBuf::from);
    if dir.is_none() {
        notice("skipped: PIX_SPEC_DIR is not set");
    }
    dir
}

/// Whether the program of a Debian package is here, or a notice that the test was skipped.
pub(crate) fn tool(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        notice(&format!(
            "skipped: {program} is not installed (Debian package {package})"
        ));
    }
    found
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn notice(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// Standard output of a program that must succeed.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
