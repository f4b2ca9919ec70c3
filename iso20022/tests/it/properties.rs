//! Whatever the types can hold goes out and comes back, both ways.

use iso20022::{
    AdjustmentAmount, Admi002, AppHdr, CreditTransfer, CreditorAccount, DebtorAccount, Document,
    DocumentNumber, Envelope, GroupHeader, MessageDefinition, Pacs002, Pacs008, Pacs008Group, Party, Path,
    ReferredDocument, Remittance, SplitPaymentTax, StatusReasonInformation, TaxRecord, TaxType,
    TransactionStatusReport, credit_transfer_fragment, open_fast, open_generic, pacs_002_document,
    pacs_008_document, parse_credit_transfer_fragment, parse_status_report_fragment, parse_unsigned, seal,
    status_report_fragment, unsigned,
};
use pix_domain::{
    AccountNumber, AccountType, Branch, Cnpj, EndToEndId, InstructionId, Ispb, LocalInstrument, Money, MsgId,
    Priority, Purpose, ReturnId, ServiceLevel, StatusReason, TaxId, Text, Timestamp, TransactionStatus, TxId,
    WithdrawalAgent, WithdrawalAmountKind,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::foreign::signed_pretty;
use crate::support::{KEY_INFO_ID, bank, sealed};

fn wire<T, E: std::fmt::Debug>(
    pattern: &'static str,
    parse: impl Fn(&[u8]) -> Result<T, E> + 'static,
) -> impl Strategy<Value = T>
where
    T: std::fmt::Debug,
{
    proptest::string::string_regex(pattern)
        .expect("a pattern")
        .prop_map(move |s| parse(s.as_bytes()).expect("fits"))
}

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    let strange = prop_oneof![
        4 => proptest::char::range(' ', '~'),
        1 => select(vec!['&', '<', '>', '"', '\'', '\r', '\n', '\t', ' ', ']']),
        1 => select(vec!['ç', '\u{85}', '\u{a0}', '\u{2028}', '\u{d7ff}', '\u{e000}', '\u{fffd}', '\u{10348}', '\u{10ffff}']),
    ];
    vec(strange, 1..=MAX.min(160))
        .prop_map(|chars| Text::parse(&chars.into_iter().collect::<String>()).expect("fits"))
}

fn time() -> impl Strategy<Value = Timestamp> {
    // Years 0001 to 9999, milliseconds.
    (-62_135_596_800_000_i64..253_402_300_800_000).prop_map(|ms| Timestamp::from_micros(ms * 1000))
}

fn date() -> impl Strategy<Value = Timestamp> {
    (-719_162_i64..2_932_897).prop_map(|day| Timestamp::from_micros(day * 86_400_000_000))
}

fn money() -> impl Strategy<Value = Money> {
    prop_oneof![0..=1_000_000_u64, 0..=999_999_999_999_999_999_u64].prop_map(Money::from_centavos)
}

fn ispb() -> impl Strategy<Value = Ispb> {
    wire("[0-9A-Z]{8}", Ispb::parse)
}

fn end_to_end_id() -> impl Strategy<Value = EndToEndId> {
    wire(
        "E[0-9A-Z]{8}[0-9]{4}[0-1][0-9][0-3][0-9][0-2][0-9][0-5][0-9][a-zA-Z0-9]{11}",
        EndToEndId::parse,
    )
}

fn instruction_id() -> impl Strategy<Value = InstructionId> {
    let returned = wire(
        "D[0-9A-Z]{8}[0-9]{4}[0-1][0-9][0-3][0-9][0-2][0-9][0-5][0-9][a-zA-Z0-9]{11}",
        |w| ReturnId::parse(w).and(InstructionId::parse(w)),
    );
    prop_oneof![end_to_end_id().prop_map(InstructionId::from), returned]
}

fn message_id() -> impl Strategy<Value = MsgId> {
    wire("M[0-9A-Z]{8}[a-zA-Z0-9]{23}", MsgId::parse)
}

fn tax_id() -> impl Strategy<Value = TaxId> {
    wire("[0-9]{11}|[0-9A-Z]{12}[0-9]{2}", TaxId::parse)
}

fn account() -> impl Strategy<Value = (AccountNumber, Option<Branch>, AccountType)> {
    use AccountType::{Current, Other, Salary, Savings, Transacting};
    (
        wire("[0-9A-Z]{1,20}", AccountNumber::parse),
        of(wire("[0-9]{1,4}", Branch::parse)),
        select(vec![Current, Savings, Transacting, Salary, Other]),
    )
}

fn tax() -> impl Strategy<Value = SplitPaymentTax> {
    let record = || {
        (select(vec![TaxType::Cbs, TaxType::Ibs]), money())
            .prop_map(|(kind, amount)| TaxRecord { kind, amount })
    };
    ("[a-zA-Z0-9]{1,50}", [record(), record()]).prop_map(|(reference, records)| SplitPaymentTax {
        reference: DocumentNumber::parse(&reference).expect("fits"),
        records,
    })
}

fn remittance() -> impl Strategy<Value = Remittance> {
    let amounts = (money(), money(), 0..4_usize).prop_map(|(a, b, shape)| {
        let purchase = AdjustmentAmount {
            amount: a,
            kind: WithdrawalAmountKind::Purchase,
        };
        let cash = AdjustmentAmount {
            amount: b,
            kind: WithdrawalAmountKind::Cash,
        };
        [
            vec![purchase],
            vec![cash],
            vec![purchase, cash],
            vec![cash, purchase],
        ][shape]
            .clone()
    });
    let structured =
        (select(WithdrawalAgent::ALL.to_vec()), ispb(), amounts).prop_map(|(agent, facilitator, amounts)| {
            ReferredDocument {
                agent,
                facilitator,
                amounts,
            }
        });
    (of(text()), of(structured)).prop_map(|(unstructured, structured)| Remittance {
        unstructured,
        structured,
    })
}

pub(crate) fn credit_transfer() -> impl Strategy<Value = CreditTransfer> {
    let ids = (
        of(instruction_id()),
        end_to_end_id(),
        of(wire("[a-zA-Z0-9]{1,35}", TxId::parse)),
    );
    let what = (
        money(),
        time(),
        select(LocalInstrument::ALL.to_vec()),
        select(Purpose::ALL.to_vec()),
    );
    let who = (
        of(wire("[0-9A-Z]{12}[0-9]{2}", Cnpj::parse)),
        text(),
        tax_id(),
        tax_id(),
        ispb(),
        ispb(),
    );
    let rest = (account(), account(), of(text()), of(tax()), of(remittance()));
    (ids, what, who, rest).prop_map(|(ids, what, who, rest)| {
        let (instruction_id, end_to_end_id, tx_id) = ids;
        let (amount, accepted_at, local_instrument, purpose) = what;
        let (initiator, name, debtor, creditor, debtor_agent, creditor_agent) = who;
        let (from, to, proxy, tax, remittance) = rest;
        CreditTransfer {
            instruction_id,
            end_to_end_id,
            tx_id,
            amount,
            accepted_at,
            local_instrument,
            initiator,
            debtor: Party { name, tax_id: debtor },
            debtor_account: DebtorAccount {
                number: from.0,
                branch: from.1,
                kind: from.2,
            },
            debtor_agent,
            creditor_agent,
            creditor,
            creditor_account: CreditorAccount {
                number: to.0,
                branch: to.1,
                kind: to.2,
                proxy,
            },
            purpose,
            tax,
            remittance,
        }
    })
}

pub(crate) fn status_report() -> impl Strategy<Value = TransactionStatusReport> {
    let reason = (of(select(StatusReason::ALL.to_vec())), vec(text(), 0..3))
        .prop_map(|(code, additional)| StatusReasonInformation { code, additional });
    (
        instruction_id(),
        end_to_end_id(),
        select(TransactionStatus::ALL.to_vec()),
        vec(reason, 0..3),
        of(time()),
        of(date()),
    )
        .prop_map(
            |(instruction, end_to_end, status, reasons, settled_at, settlement_date)| {
                TransactionStatusReport {
                    original_instruction_id: instruction,
                    original_end_to_end_id: end_to_end,
                    status,
                    reasons,
                    settled_at,
                    settlement_date,
                }
            },
        )
}

pub(crate) fn any_envelope() -> impl Strategy<Value = Envelope> {
    let group = (
        message_id(),
        time(),
        0..=999_999_999_999_999_u64,
        select(Priority::ALL.to_vec()),
        select(ServiceLevel::ALL.to_vec()),
    )
        .prop_map(
            |(message_id, created_at, number_of_transactions, priority, service_level)| GroupHeader {
                message_id,
                created_at,
                number_of_transactions,
                priority,
                service_level,
            },
        );
    let pacs_008 = (group, vec(credit_transfer(), 1..4))
        .prop_map(|(group, transactions)| Document::Pacs008(Pacs008 { group, transactions }));
    let pacs_002 = (message_id(), time(), vec(status_report(), 1..4)).prop_map(
        |(message_id, created_at, transactions)| {
            Document::Pacs002(Pacs002 {
                message_id,
                created_at,
                transactions,
            })
        },
    );
    let admi_002 = (text(), text(), of(time()), of(text()), of(text()), of(text())).prop_map(
        |(reference, reason, rejected_at, location, description, additional)| {
            Document::Admi002(Admi002 {
                reference,
                reason,
                rejected_at,
                location,
                description,
                additional,
            })
        },
    );
    let document = prop_oneof![pacs_008, pacs_002, admi_002];
    (ispb(), ispb(), message_id(), time(), document).prop_map(
        |(from, to, message_id, created_at, document)| {
            let definition = MessageDefinition::of(&document);
            Envelope {
                header: AppHdr {
                    from,
                    to,
                    message_id,
                    definition,
                    created_at,
                },
                document,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(envelope in any_envelope()) {
        let written = unsigned(&envelope);
        prop_assert_eq!(parse_unsigned(&written), Ok(envelope));
    }

    #[test]
    fn what_is_read_is_written_back(envelope in any_envelope()) {
        let written = unsigned(&envelope);
        let again = unsigned(&parse_unsigned(&written).expect("ours"));
        prop_assert_eq!(again, written);
    }

    #[test]
    fn both_paths_open_what_is_sealed_to_the_same_message(envelope in any_envelope()) {
        let message = sealed(&envelope);
        let fast = open_fast(message.as_bytes(), &bank().key).expect("what we write is canonical");
        let generic = open_generic(message.as_bytes(), &bank().key).expect("and true");
        prop_assert_eq!(&fast.signer, &generic.signer);
        prop_assert_eq!((fast.path, generic.path), (Path::Fast, Path::Generic));
        prop_assert_eq!(&fast.envelope, &generic.envelope);
        prop_assert_eq!(fast.envelope, envelope);
    }

    /// `sealed` writes text with line ends as they are; the printer of the pretty form may not touch them.
    #[test]
    fn pretty_printed_and_signed_by_others_it_is_the_same_message(envelope in any_envelope()) {
        let message = signed_pretty(&sealed(&envelope));
        prop_assert!(open_fast(message.as_bytes(), &bank().key).is_none());
        prop_assert_eq!(open_generic(message.as_bytes(), &bank().key).expect("true").envelope, envelope);
    }

    #[test]
    fn fragments_come_back_and_make_the_same_message(
        transfers in vec(credit_transfer(), 1..4),
        reports in vec(status_report(), 1..4),
        envelope in any_envelope(),
    ) {
        for tx in &transfers {
            let fragment = credit_transfer_fragment(tx);
            prop_assert_eq!(parse_credit_transfer_fragment(&fragment), Ok(tx.clone()));
        }
        for report in &reports {
            let fragment = status_report_fragment(report);
            prop_assert_eq!(parse_status_report_fragment(&fragment), Ok(report.clone()));
        }
        let header = AppHdr { definition: MessageDefinition::Pacs008, ..envelope.header };
        let group = Pacs008Group { priority: Priority::High, service_level: ServiceLevel::Priority };
        let fragments: Vec<_> = transfers.iter().map(credit_transfer_fragment).collect();
        let document = pacs_008_document(header.message_id, header.created_at, &group, &fragments);
        let message = seal(&header, &document, &bank().signer, KEY_INFO_ID);
        let Document::Pacs008(opened) = open_fast(&message, &bank().key).expect("ours").envelope.document else {
            panic!("a pacs.008");
        };
        prop_assert_eq!(opened.transactions, transfers);
        let header = AppHdr { definition: MessageDefinition::Pacs002, ..envelope.header };
        let fragments: Vec<_> = reports.iter().map(status_report_fragment).collect();
        let document = pacs_002_document(header.message_id, header.created_at, &fragments);
        let message = seal(&header, &document, &bank().signer, KEY_INFO_ID);
        let Document::Pacs002(opened) = open_fast(&message, &bank().key).expect("ours").envelope.document else {
            panic!("a pacs.002");
        };
        prop_assert_eq!(opened.transactions, reports);
    }

    /// No input panics, and what the fast path takes the generic path takes.
    #[test]
    fn mangled_messages_are_judged(
        envelope in any_envelope(),
        cuts in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut message = sealed(&envelope).into_bytes();
        for (from, to, at) in cuts {
            let (a, b) = (from.index(message.len()), to.index(message.len()));
            let piece = message[a.min(b)..a.max(b).min(a.min(b) + 200)].to_vec();
            let at = at.index(message.len());
            message.splice(at..at, piece);
        }
        let generic = open_generic(&message, &bank().key);
        if let Some(fast) = open_fast(&message, &bank().key) {
            prop_assert_eq!(fast.envelope, generic.expect("the fast path is never laxer").envelope);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300), xml in "(<[a-zA-Z:/!?&;\\[\\]<> =\"']{0,20}>?){0,20}") {
        prop_assert!(iso20022::open(&bytes, &bank().key).is_err());
        prop_assert!(iso20022::open(xml.as_bytes(), &bank().key).is_err());
    }
}
