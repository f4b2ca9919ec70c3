//! The official schemas, judged by libxml2, against our parser.

use std::path::{Path, PathBuf};
use std::process::Command;

use iso20022::{Document, Envelope, parse_unsigned, unsigned};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::properties::any_envelope;
use crate::support::{admi, order, run, sealed, spec, status, tool};

fn schema_of(spec: &Path, envelope: &Envelope) -> PathBuf {
    spec.join(match envelope.document {
        Document::Pacs008(_) => "spi/xsd/pacs.008.spi.1.16.xsd",
        Document::Pacs002(_) => "spi/xsd/pacs.002.spi.1.17.xsd",
        Document::Admi002(_) => "spi/xsd-reconstructed/admi.002.spi.1.5.xsd",
    })
}

/// What libxml2 says of `messages`, in order.
fn verdicts(schema: &Path, messages: &[String]) -> Vec<bool> {
    let dir = tempfile::tempdir().expect("a folder");
    // `Sgntr` takes any element of the signature's namespace, but only one that libxml2 knows: a lax copy.
    let lax = std::fs::read_to_string(schema).expect("a schema");
    let lax = lax.replace(
        "<xs:any namespace=\"http://www.w3.org/2000/09/xmldsig#\"/>",
        "<xs:any namespace=\"http://www.w3.org/2000/09/xmldsig#\" processContents=\"lax\"/>",
    );
    assert!(lax.contains("lax"), "the schema was not as expected");
    let xsd = dir.path().join("schema.xsd");
    std::fs::write(&xsd, lax).expect("written");
    let names: Vec<PathBuf> = (0..messages.len())
        .map(|i| dir.path().join(format!("{i}.xml")))
        .collect();
    for (name, message) in names.iter().zip(messages) {
        std::fs::write(name, message).expect("written");
    }
    let output = run(Command::new("xmllint")
        .args(["--noout", "--schema"])
        .arg(&xsd)
        .args(&names));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    names
        .iter()
        .map(|name| {
            said.lines()
                .any(|line| line == format!("{} validates", name.display()))
        })
        .collect()
}

fn tools() -> Option<PathBuf> {
    spec().filter(|_| tool("xmllint", "libxml2-utils"))
}

#[test]
fn what_we_write_validates() {
    let Some(spec) = tools() else { return };
    for envelope in [order(1), order(10), status(), admi()] {
        assert_eq!(
            verdicts(&schema_of(&spec, &envelope), &[sealed(&envelope)]),
            [true],
            "{envelope:?}"
        );
    }
}

#[test]
fn whatever_our_types_can_hold_validates() {
    let Some(spec) = tools() else { return };
    let mut runner = TestRunner::deterministic();
    let envelopes: Vec<Envelope> = (0..300)
        .map(|_| any_envelope().new_tree(&mut runner).expect("a message").current())
        .collect();
    for sample in [order(1), status(), admi()] {
        let schema = schema_of(&spec, &sample);
        let same: Vec<&Envelope> = envelopes
            .iter()
            .filter(|e| schema_of(&spec, e) == schema)
            .collect();
        assert!(same.len() > 50);
        let messages: Vec<String> = same.iter().map(|e| with_signature(&unsigned(e))).collect();
        for (i, valid) in verdicts(&schema, &messages).into_iter().enumerate() {
            assert!(valid, "{}", messages[i]);
        }
    }
}

fn with_signature(message: &[u8]) -> String {
    let text = std::str::from_utf8(message).expect("UTF-8");
    text.replace(
        "<Sgntr></Sgntr>",
        "<Sgntr><ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/></Sgntr>",
    )
}

/// Elements of the pacs.008 sample with a value instead of theirs.
const VALUES: &[(&str, &[&str])] = &[
    (
        "<BizMsgIdr>",
        &[
            "",
            "M1111111100000000000000000000007",
            "M11111111000000000000000000000070",
            "m1111111100000000000000000000007",
            "M1111111a0000000000000000000007-",
            " M111111110000000000000000000007",
        ],
    ),
    (
        "<CreDt>",
        &[
            "2026-11-21T12:00:00Z",
            "2026-11-21T12:00:00.0000Z",
            "2026-02-29T12:00:00.000Z",
            "2024-02-29T23:59:59.999Z",
            " 2026-11-21T12:00:00.000Z\n",
            "2026-11-21T12:00:00.000+00:00",
            "0000-11-21T12:00:00.000Z",
            "2026-11-21T12:60:00.000Z",
            "",
        ],
    ),
    (
        "<NbOfTxs>",
        &[
            "1",
            "0",
            "000000000000001",
            "0000000000000001",
            "-1",
            "+1",
            " 1 ",
            "1.0",
            "",
            "999999999999999",
        ],
    ),
    ("<SttlmMtd>", &["CLRG", "INGA", "clrg", " CLRG"]),
    ("<InstrPrty>", &["NORM", "URGT"]),
    ("<SvcLvl><Prtry>", &["PAGAGD", "PAGFRD", "PAGXXX", ""]),
    (
        "<EndToEndId>",
        &[
            "E1111111120261121120000000000000",
            "E9999999912341234123412345678900",
            "D1111111120261121120000000000000",
            "E111111112026112112000000000000",
            "E1111111120262121120000000000000",
            "E1111111120261141120000000000000",
            "E1111111120261121320000000000000",
            "E11111111202611211260000000000000",
            "E1111111120261121120000000000_00",
        ],
    ),
    (
        "<IntrBkSttlmAmt Ccy=\"BRL\">",
        &[
            "0",
            "0.00",
            "10",
            "10.5",
            "10.505",
            "10.500",
            ".5",
            "5.",
            "-1",
            "-0.00",
            "+1.00",
            " 1.00 ",
            "1e2",
            "1,00",
            "",
            "9999999999999999.99",
            "99999999999999999.99",
            "0009.99",
            "NaN",
        ],
    ),
    ("<ChrgBr>", &["SLEV", "SHAR"]),
    ("<LclInstrm><Prtry>", &["APES", "INIC", "XXXX"]),
    (
        "<Dbtr><Nm>",
        &[
            "",
            " ",
            "x",
            "&#13;",
            "&amp;&lt;&gt;",
            "<![CDATA[<&>]]>",
            "ç\u{10348}",
        ],
    ),
    (
        "<DbtrAcct><Id><Othr><Id>",
        &[
            "0",
            "00000000000000000000",
            "000000000000000000000",
            "A1",
            "a1",
            "",
            "1 ",
        ],
    ),
    ("<Issr>", &["1", "0001", "00001", "", "1A", " 1 "]),
    (
        "<DbtrAcct><Id><Othr><Id>100001</Id><Issr>0001</Issr></Othr></Id><Tp><Cd>",
        &["SVGS", "SLRY", "OTHR", "TRAN", "XXXX"],
    ),
    ("<MmbId>", &["ABCDEFGH", "abcdefgh", "1234567", "123456789"]),
    (
        "<Cdtr><Id><PrvtId><Othr><Id>",
        &[
            "12345678901",
            "1234567890",
            "12345678901234",
            "ABCDEFGHIJKL12",
            "ABCDEFGHIJKLM2",
            "abcdefghijkl12",
            "1234567890A",
        ],
    ),
    ("<Purp><Cd>", &["GSCB", "OTHR", "REFU", "IPRT", "XXXX"]),
    ("<Ustrd>", &["", "x"]),
    ("<MsgDefIdr>", &["pacs.008.spi.1.16"]),
];

/// Pieces of the pacs.008 sample and what stands instead.
const SHAPES: &[(&str, &str)] = &[
    ("<ChrgBr>SLEV</ChrgBr>", ""),
    (
        "<ChrgBr>SLEV</ChrgBr>",
        "<ChrgBr>SLEV</ChrgBr><ChrgBr>SLEV</ChrgBr>",
    ),
    ("<ChrgBr>", "text<ChrgBr>"),
    ("<ChrgBr>", "\n\t <ChrgBr>"),
    ("<Purp>", "<Tax><RefNb>A1</RefNb></Tax><Purp>"),
    (
        "</Purp>",
        "</Purp><Tax><RefNb>A1</RefNb><Rcrd><Tp>CBSSPLIT</Tp><Ctgy>INF</Ctgy><TaxAmt><TtlAmt Ccy=\"BRL\">1</TtlAmt></TaxAmt></Rcrd></Tax>",
    ),
    (
        "</Purp>",
        "</Purp><Tax><RefNb>A1</RefNb><Rcrd><Tp>CBSSPLIT</Tp><Ctgy>INF</Ctgy><TaxAmt><TtlAmt Ccy=\"BRL\">1</TtlAmt></TaxAmt></Rcrd><Rcrd><Tp>CBSSPLIT</Tp><Ctgy>INF</Ctgy><TaxAmt><TtlAmt Ccy=\"BRL\">0.01</TtlAmt></TaxAmt></Rcrd></Tax>",
    ),
    (
        "</Purp>",
        "</Purp><Tax><RefNb>A-1</RefNb><Rcrd><Tp>CBSSPLIT</Tp><Ctgy>INF</Ctgy><TaxAmt><TtlAmt Ccy=\"BRL\">1</TtlAmt></TaxAmt></Rcrd><Rcrd><Tp>IBSSPLIT</Tp><Ctgy>INF</Ctgy><TaxAmt><TtlAmt Ccy=\"BRL\">1</TtlAmt></TaxAmt></Rcrd></Tax>",
    ),
    ("</Ustrd>", "</Ustrd><Ustrd>x</Ustrd>"),
    (
        "</Ustrd>",
        "</Ustrd><Strd><RfrdDocInf><Tp><CdOrPrtry><Prtry>AGTEC</Prtry></CdOrPrtry><Issr>01234567</Issr></Tp></RfrdDocInf><RfrdDocAmt><AdjstmntAmtAndRsn><Amt Ccy=\"BRL\">1</Amt><Rsn>VLCP</Rsn></AdjstmntAmtAndRsn><AdjstmntAmtAndRsn><Amt Ccy=\"BRL\">1</Amt><Rsn>VLDN</Rsn></AdjstmntAmtAndRsn></RfrdDocAmt></Strd>",
    ),
    (
        "</Ustrd>",
        "</Ustrd><Strd><RfrdDocInf><Tp><CdOrPrtry><Prtry>AGTEC</Prtry></CdOrPrtry><Issr>01234567</Issr></Tp></RfrdDocInf><RfrdDocAmt><AdjstmntAmtAndRsn><Amt Ccy=\"BRL\">1</Amt><Rsn>VLDN</Rsn></AdjstmntAmtAndRsn><AdjstmntAmtAndRsn><Amt Ccy=\"BRL\">1</Amt><Rsn>VLDN</Rsn></AdjstmntAmtAndRsn></RfrdDocAmt></Strd>",
    ),
    (
        "</Ustrd>",
        "</Ustrd><Strd><RfrdDocInf><Tp><CdOrPrtry><Prtry>AGTEC</Prtry></CdOrPrtry><Issr>01234567</Issr></Tp></RfrdDocInf><RfrdDocAmt></RfrdDocAmt></Strd>",
    ),
    ("<IntrBkSttlmAmt Ccy=\"BRL\">", "<IntrBkSttlmAmt Ccy=\"USD\">"),
    ("<IntrBkSttlmAmt Ccy=\"BRL\">", "<IntrBkSttlmAmt>"),
    (
        "<IntrBkSttlmAmt Ccy=\"BRL\">",
        "<IntrBkSttlmAmt Ccy=\"BRL\" x=\"\">",
    ),
    ("<IntrBkSttlmAmt Ccy=\"BRL\">", "<IntrBkSttlmAmt\n Ccy = 'BRL' >"),
    ("<ChrgBr>", "<ChrgBr Id=\"x\">"),
    ("<Document>", "<Document><Other/>"),
    ("</Document>", "</Document><Document/>"),
    (
        "<EndToEndId>",
        "<InstrId>D1111111120261121120000000000000</InstrId><EndToEndId>",
    ),
    ("</EndToEndId>", "</EndToEndId><TxId>abcXYZ012</TxId>"),
    ("</EndToEndId>", "</EndToEndId><TxId></TxId>"),
    ("</EndToEndId>", "</EndToEndId><TxId>a b</TxId>"),
    (
        "</EndToEndId>",
        "</EndToEndId><TxId>012345678901234567890123456789012345</TxId>",
    ),
    (
        "<Dbtr>",
        "<InitgPty><Id><OrgId><Othr><Id>12ABC34501DE35</Id></Othr></OrgId></Id></InitgPty><Dbtr>",
    ),
    (
        "<Dbtr>",
        "<InitgPty><Id><OrgId><Othr><Id>52998224725</Id></Othr></OrgId></Id></InitgPty><Dbtr>",
    ),
    ("</CdtrAcct>", "<Prxy><Id>+5511999999999</Id></Prxy></CdtrAcct>"),
    ("</CdtrAcct>", "<Prxy></Prxy></CdtrAcct>"),
    ("<FIToFICstmrCdtTrf>", "<FIToFICstmrCdtTrf xmlns=\"\">"),
    (
        "<Document>",
        "<Document xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"a b\">",
    ),
];

#[test]
fn every_facet_of_the_schema_is_ours_too() {
    let Some(spec) = tools() else { return };
    let sample = order(1);
    let base = String::from_utf8(unsigned(&sample)).expect("UTF-8");
    let mut messages = Vec::new();
    for (tag, values) in VALUES {
        let start = base.find(tag).unwrap_or_else(|| panic!("no {tag}")) + tag.len();
        let end = start + base[start..].find('<').expect("an end tag");
        messages.extend(
            values
                .iter()
                .map(|value| format!("{}{value}{}", &base[..start], &base[end..])),
        );
    }
    for (piece, instead) in SHAPES {
        assert!(base.contains(piece), "no {piece}");
        messages.push(base.replacen(piece, instead, 1));
    }
    for length in [1, 139, 140, 141] {
        messages.push(
            base.replace("Ana ", &"ç".repeat(length))
                .replace("&lt;Souza&gt; &amp; \"Filhos\"", ""),
        );
    }
    let with_signatures: Vec<String> = messages.iter().map(|m| with_signature(m.as_bytes())).collect();
    let theirs = verdicts(&schema_of(&spec, &sample), &with_signatures);
    assert!(theirs.iter().any(|v| *v) && !theirs.iter().all(|v| *v));
    for (message, theirs) in messages.iter().zip(theirs) {
        let ours = parse_unsigned(message.as_bytes());
        assert_eq!(ours.is_ok(), theirs, "{ours:?}\n{message}");
    }
}
