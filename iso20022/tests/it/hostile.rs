//! What must be refused, with its own reason, and what looks strange and must not be.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use iso20022::UnreadableKind::{Facet, Limit, Schema, Signature, UnknownSigner, Xml};
use iso20022::{MESSAGE_BYTES_MAX, Path, UnreadableKind, open};

use crate::foreign::{insert, issuer_name, pretty, sign, sign_with, signed_pretty, template};
use crate::support::{KEY_INFO_ID, bank, order, sealed, stranger};

/// Asserts that `message` is refused as `kind` with `why` in the description.
#[track_caller]
fn refused(message: &[u8], kind: UnreadableKind, why: &str) {
    let refusal = open(message, &bank().key).expect_err("hostile");
    let description = refusal.description.as_ref().expect("a description").as_str();
    assert_eq!(refusal.kind, kind, "{description}");
    assert!(description.contains(why), "{description:?} does not say {why:?}");
}

#[track_caller]
fn accepted(message: &str) -> Path {
    let opened = open(message.as_bytes(), &bank().key).unwrap_or_else(|e| panic!("{e:?}\n{message}"));
    assert_eq!(opened.envelope, order(1));
    opened.path
}

fn base() -> String {
    sealed(&order(1))
}

/// The pretty message with another signature template, signed for good.
fn resigned(change: impl FnOnce(String) -> String) -> String {
    sign(&insert(&pretty(&base()), &change(template())), bank())
}

#[test]
fn doctypes_instructions_and_comments() {
    let base = base();
    let doctype = "<!DOCTYPE Envelope [<!ENTITY a \"b\">]>";
    refused(format!("{doctype}{base}").as_bytes(), Xml, "a DOCTYPE");
    refused(
        format!("<?xml version=\"1.0\"?>\n{doctype}{base}").as_bytes(),
        Xml,
        "a DOCTYPE",
    );
    for (what, piece) in [
        ("a comment", "<!-- -->"),
        ("a processing instruction", "<?php ?>"),
    ] {
        for place in [
            "<Envelope",
            "<AppHdr>",
            "1050",
            "</ds:SignedInfo>",
            "<ds:KeyInfo",
            "</Envelope>",
        ] {
            let at = base.find(place).or_else(|| base.find("10.50")).expect("a place");
            refused(
                format!("{}{piece}{}", &base[..at], &base[at..]).as_bytes(),
                Xml,
                what,
            );
        }
        refused(format!("{base}{piece}").as_bytes(), Xml, what);
    }
}

#[test]
fn encodings() {
    let base = base();
    let utf_16 = |big: bool| -> Vec<u8> {
        let units = std::iter::once(0xFEFF).chain(base.encode_utf16());
        units
            .flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() })
            .collect()
    };
    refused(&utf_16(true), Xml, "UTF-8");
    refused(&utf_16(false), Xml, "UTF-8");
    refused(
        format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{base}").as_bytes(),
        Xml,
        "UTF-8",
    );
    refused(
        &base
            .replace("almo\u{e7}o", "almo?o")
            .into_bytes()
            .iter()
            .map(|b| if *b == b'?' { 0xE7 } else { *b })
            .collect::<Vec<_>>(),
        Xml,
        "UTF-8",
    );
    assert_eq!(accepted(&format!("\u{feff}{base}")), Path::Generic);
    assert_eq!(
        accepted(&format!("<?xml version='1.0' encoding='utf-8'?>{base}\n")),
        Path::Generic
    );
    refused(
        format!("<?xml version=\"1.1\"?>{base}").as_bytes(),
        Xml,
        "version",
    );
    refused(
        format!(" <?xml version=\"1.0\"?>{base}").as_bytes(),
        Xml,
        "declaration",
    );
}

#[test]
fn xml_that_is_not_well_formed() {
    let base = base();
    for (from, to, why) in [
        ("<ChrgBr>", "<ChrgBr a=\"1\" a=\"2\">", "twice"),
        ("<ChrgBr>", "<ChrgBr a=\"<\">", "'<'"),
        ("<ChrgBr>", "<ChrgBr a=b>", "quotes"),
        ("<ChrgBr>", "<ChrgBr a=\"1\"b=\"2\">", "white space"),
        ("<ChrgBr>", "<p:ChrgBr>", ""),
        (
            "<ChrgBr>SLEV</ChrgBr>",
            "<p:ChrgBr>SLEV</p:ChrgBr>",
            "prefix without namespace",
        ),
        ("<ChrgBr>", "<ChrgBr xmlns:p=\"\">", "declaration"),
        ("<ChrgBr>", "<ChrgBr xmlns:xml=\"urn:x\">", "declaration"),
        (
            "<ChrgBr>",
            "<ChrgBr xmlns:a=\"urn:x\" xmlns:b=\"urn:x\" a:i=\"\" b:i=\"\">",
            "twice",
        ),
        ("SLEV", "&nbsp;", "entity"),
        ("SLEV", "&#0;", "entity or character"),
        ("SLEV", "&#xFFFE;", "entity or character"),
        ("SLEV", "&#x110000;", "entity or character"),
        ("SLEV", "&amp", ""),
        ("SLEV", "]]>", "]]>"),
        ("SLEV", "\u{1}", "character"),
        ("SLEV", "\u{ffff}", "character"),
        ("</Envelope>", "", "without end"),
        ("</Envelope>", "</Envelope><Envelope/>", "more than one root"),
        ("</Envelope>", "</Envelope>x", "outside"),
        ("</Envelope>", "</Envelope>&#32;", "outside"),
        ("</Envelope>", "</Envelope></Envelope>", ""),
    ] {
        refused(base.replacen(from, to, 1).as_bytes(), Xml, why);
    }
    for nothing in ["", " ", "x", "<", "<Envelope", "<?xml version=\"1.0\"?>"] {
        refused(nothing.as_bytes(), Xml, "well-formed");
    }
}

#[test]
fn caps() {
    let base = base();
    let stuffed = |piece: String| base.replacen("<ChrgBr>", &format!("{piece}<ChrgBr>"), 1);
    refused(stuffed(" ".repeat(MESSAGE_BYTES_MAX)).as_bytes(), Limit, "bytes");
    refused(
        stuffed(format!("{}{}", "<a>".repeat(40), "</a>".repeat(40))).as_bytes(),
        Limit,
        "inside one another",
    );
    let attributes: String = (0..33).map(|i| format!(" a{i}=\"\"")).collect();
    refused(
        stuffed(format!("<a{attributes}/>")).as_bytes(),
        Limit,
        "attributes in one element",
    );
    refused(
        stuffed("<a/>".repeat(10_000)).as_bytes(),
        Limit,
        "elements and attributes",
    );
    refused(
        stuffed("<a b=''/>".repeat(5_000)).as_bytes(),
        Limit,
        "elements and attributes",
    );
    // The fast path counts too: reasons without content are within the schema of a pacs.002.
    let status = sealed(&crate::support::status());
    let empty = "<StsRsnInf></StsRsnInf>";
    refused(
        status.replacen(empty, &empty.repeat(10_000), 1).as_bytes(),
        Limit,
        "elements and attributes",
    );
    let bomb = stuffed(format!("<a b=\"{}\"/>", "&amp;".repeat(100_000)));
    refused(bomb.as_bytes(), Signature, "digest of Document");
}

#[test]
fn long_messages_may_have_more_nodes() {
    use pix_domain::{Priority, ServiceLevel};
    let mut envelope = order(500);
    let iso20022::Document::Pacs008(p) = &mut envelope.document else {
        panic!("a pacs.008")
    };
    (p.group.priority, p.group.service_level) = (Priority::Normal, ServiceLevel::Scheduled);
    let message = sealed(&envelope);
    let fast = open(message.as_bytes(), &bank().key).expect("500 transactions");
    assert_eq!(fast.path, Path::Fast);
    let generic = iso20022::open_generic(message.as_bytes(), &bank().key).expect("500 transactions");
    assert_eq!(fast.envelope, generic.envelope);
}

#[test]
fn schemas() {
    let base = base();
    refused(
        base.replace("pacs.008/1.16", "pacs.008/1.13").as_bytes(),
        Schema,
        "Schema desconhecido",
    );
    refused(
        base.replace("Envelope", "Envelop").as_bytes(),
        Schema,
        "Schema desconhecido",
    );
    let other = pretty(&base).replace("pacs.008.spi.1.16", "pacs.008.spi.1.13");
    refused(
        sign(&insert(&other, &template()), bank()).as_bytes(),
        Schema,
        "Schema desconhecido",
    );
    refused(b"<a/>", Schema, "Schema desconhecido");
}

#[test]
fn refusals_name_message_transaction_and_place() {
    let message = pretty(&sealed(&order(2)))
        .replacen("<ChrgBr>SLEV", "<ChrgBr>SLEX", 2)
        .replacen("SLEX", "SLEV", 1);
    let signed = sign(&insert(&message, &template()), bank());
    let refusal = open(signed.as_bytes(), &bank().key).expect_err("SLEX");
    let id = order(2).header.message_id;
    assert_eq!((refusal.kind, refusal.message_id), (Facet, Some(id)));
    assert_eq!(
        refusal.location.expect("a place").as_str(),
        "Document/FIToFICstmrCdtTrf/CdtTrfTxInf[2]/ChrgBr"
    );
    let second = crate::support::transfer(1).end_to_end_id;
    assert_eq!(
        refusal.additional.expect("the payment").as_str(),
        format!("EndToEndId={second}")
    );
    assert_eq!(refusal.reason.as_str(), "XML inválido");
}

#[test]
fn signatures_that_are_missing_surplus_or_elsewhere() {
    let base = base();
    let start = base.find("<ds:Signature").expect("signed");
    let end = base.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let signature = &base[start..end];
    let bare = format!("{}{}", &base[..start], &base[end..]);
    refused(bare.as_bytes(), Signature, "no ds:Signature");
    for place in ["</Sgntr>", "</Document>", "</ds:KeyInfo>", "</Envelope>"] {
        let twice = base.replacen(place, &format!("{signature}{place}"), 1);
        refused(twice.as_bytes(), Signature, "more than one");
    }
    for place in [
        "</AppHdr>",
        "</Document>",
        "</Envelope>",
        "<Document>",
        "</Ustrd>",
    ] {
        refused(
            bare.replacen(place, &format!("{signature}{place}"), 1).as_bytes(),
            Signature,
            "only child",
        );
    }
    refused(
        base.replace("<Sgntr>", "<Sgntr>x").as_bytes(),
        Signature,
        "only child",
    );
    refused(
        base.replace("<Sgntr>", "<Sgntr><a/>").as_bytes(),
        Signature,
        "only child",
    );
    refused(
        base.replace("<Sgntr>", "<Sgntr></Sgntr><Sgntr>").as_bytes(),
        Signature,
        "only child",
    );
    refused(
        base.replace(
            " xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"",
            " xmlns:ds=\"urn:x\"",
        )
        .as_bytes(),
        Signature,
        "no ds:Signature",
    );
}

/// XML signature wrapping: the signed parts are kept somewhere, others stand where they are read.
#[test]
fn wrapped_signatures() {
    let base = base();
    let part = |from: &str, to: &str| {
        let (start, end) = (
            base.find(from).expect("there"),
            base.find(to).expect("there") + to.len(),
        );
        base[start..end].to_owned()
    };
    let document = part("<Document>", "</Document>");
    let forged = document.replace("10.50", "99.50");
    refused(
        base.replace(&document, &forged).as_bytes(),
        Signature,
        "digest of Document",
    );
    refused(
        base.replace(&document, &format!("{document}{forged}")).as_bytes(),
        Signature,
        "only child",
    );
    refused(
        base.replace(&document, &format!("{forged}{document}")).as_bytes(),
        Signature,
        "only child",
    );
    let hidden = forged.replace("<Document>", &format!("<Document><Old>{document}</Old>"));
    refused(
        base.replace(&document, &hidden).as_bytes(),
        Signature,
        "digest of Document",
    );
    let header = part("<AppHdr>", "</AppHdr>");
    let bare = format!("{}</AppHdr>", &header[..header.find("<Sgntr>").expect("there")]);
    refused(
        base.replace(&header, &format!("{bare}{header}")).as_bytes(),
        Signature,
        "only child",
    );
    refused(
        base.replace(&header, &format!("{header}{bare}")).as_bytes(),
        Signature,
        "only child",
    );
    let nested = format!("<AppHdr>{header}</AppHdr>");
    refused(base.replace(&header, &nested).as_bytes(), Signature, "only child");
    let wrapped = format!(
        "{}{}</Envelope>",
        "<Envelope xmlns=\"https://www.bcb.gov.br/pi/pacs.008/1.16\">", base
    );
    refused(wrapped.as_bytes(), Signature, "only child");
    // A signature is of one message: the header of another does not fit.
    let other = base.replace("M11111111", "M22222222");
    refused(other.as_bytes(), Signature, "digest of AppHdr");
}

#[test]
fn algorithms_are_an_allow_list_of_one() {
    for (from, to, what) in [
        (
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"",
            "CanonicalizationMethod",
        ),
        (
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#WithComments\"",
            "CanonicalizationMethod",
        ),
        (
            "xmldsig-more#rsa-sha256",
            "xmldsig-more#rsa-sha512",
            "SignatureMethod",
        ),
        (
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
            "SignatureMethod",
        ),
        (
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
            "SignatureMethod",
        ),
        (
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2000/09/xmldsig#sha1",
            "DigestMethod",
        ),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>",
            "",
            "Transform",
        ),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>",
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            "Transform",
        ),
        (
            "<ds:Transforms><ds:Transform",
            "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"/><ds:Transform",
            "Transform",
        ),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "<ds:Transform Algorithm=\"http://www.w3.org/2002/06/xmldsig-filter2\"",
            "Transform",
        ),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"",
            "<ds:Transform",
            "Transform",
        ),
    ] {
        let message = resigned(|t| {
            assert!(t.contains(from), "{from}");
            t.replacen(from, to, 1)
        });
        refused(message.as_bytes(), Signature, &format!("algorithm of {what}"));
    }
    // Parameters change what an algorithm does.
    let list = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"><ec:InclusiveNamespaces xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"a\"/></ds:Transform>";
    let message = resigned(|t| {
        t.replacen(
            "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            list,
            1,
        )
    });
    refused(message.as_bytes(), Signature, "Transform does not have the shape");
}

#[test]
fn references_are_three_in_their_order() {
    let reference = |t: &str, n: usize| {
        let start = t.match_indices("<ds:Reference").nth(n).expect("three").0;
        let end = start + t[start..].find("</ds:Reference>").expect("an end") + "</ds:Reference>".len();
        t[start..end].to_owned()
    };
    for change in [
        &(|t: String| {
            let third = reference(&t, 2);
            t.replace(&third, "")
        }) as &dyn Fn(String) -> String,
        &|t| {
            let third = reference(&t, 2);
            t.replace(&third, &format!("{third}{third}"))
        },
        &|t| {
            let (a, b) = (reference(&t, 1), reference(&t, 2));
            t.replace(&a, "@").replace(&b, &a).replace('@', &b)
        },
        &|t| t.replace("<ds:Reference>", "<ds:Reference URI=\"\">"),
        &|t| t.replace("<ds:Reference>", "<ds:Reference Type=\"x\">"),
        &|t| t.replace("URI=\"\"", "URI=\"#xpointer(/)\""),
        &|t| t.replace("URI=\"#key-info-id\"", "URI=\"http://example.com/\""),
        &|t| t.replace("URI=\"#key-info-id\"", ""),
    ] {
        refused(resigned(change).as_bytes(), Signature, "references are not");
    }
    let other = resigned(|t| t.replace("URI=\"#key-info-id\"", "URI=\"#other\""));
    refused(other.as_bytes(), Signature, "does not name the Id of KeyInfo");
    let without = resigned(|t| t.replace(" Id=\"key-info-id\"", ""));
    refused(without.as_bytes(), Signature, "does not name the Id of KeyInfo");
    let strange = resigned(|t| t.replace("key-info-id", "key info"));
    refused(strange.as_bytes(), Signature, "does not name the Id of KeyInfo");
}

#[test]
fn two_elements_with_one_id() {
    let message = resigned(|t| t.replace("<ds:Signature ", "<ds:Signature Id=\"key-info-id\" "));
    refused(message.as_bytes(), Signature, "same Id");
    let message = resigned(|t| {
        t.replace("<ds:SignatureValue>", "<ds:SignatureValue Id=\"a\">")
            .replace("<ds:SignedInfo>", "<ds:SignedInfo Id=\"a\">")
    });
    refused(message.as_bytes(), Signature, "same Id");
    let elsewhere = pretty(&base()).replace("<FIToFICstmrCdtTrf>", "<FIToFICstmrCdtTrf Id=\"key-info-id\">");
    refused(
        sign(&insert(&elsewhere, &template()), bank()).as_bytes(),
        Signature,
        "same Id",
    );
    let elsewhere = pretty(&base()).replace("<FIToFICstmrCdtTrf>", "<FIToFICstmrCdtTrf Id=\"other\">");
    refused(
        sign(&insert(&elsewhere, &template()), bank()).as_bytes(),
        Facet,
        "attribute",
    );
}

#[test]
fn shapes_that_are_not_of_the_profile() {
    let object = resigned(|t| t.replace("</ds:Signature>", "<ds:Object>x</ds:Object></ds:Signature>"));
    refused(object.as_bytes(), Signature, "Signature does not have the shape");
    let key_value = resigned(|t| t.replace("<ds:X509Data>", "<ds:KeyValue/><ds:X509Data>"));
    refused(key_value.as_bytes(), Signature, "KeyInfo does not have the shape");
    let certificate = resigned(|t| t.replace("</ds:X509Data>", "<ds:X509Certificate/></ds:X509Data>"));
    refused(
        certificate.as_bytes(),
        Signature,
        "X509Data does not have the shape",
    );
    let text = resigned(|t| t.replace("<ds:SignedInfo>", "<ds:SignedInfo>text"));
    refused(text.as_bytes(), Signature, "SignedInfo does not have the shape");
    let name = resigned(|t| t.replace(&issuer_name().0, "no name"));
    refused(name.as_bytes(), Signature, "X509IssuerSerial");
    let serial = resigned(|t| t.replace("<ds:X509SerialNumber>", "<ds:X509SerialNumber>0x"));
    refused(serial.as_bytes(), Signature, "X509IssuerSerial");
    let digest = resigned(|t| t.replace("{d3}", "AAAA"));
    refused(digest.as_bytes(), Signature, "DigestValue is not base64");
    let value = sign_with(&insert(&pretty(&base()), &template()), bank(), "x".into(), |v| {
        format!("{v}!")
    });
    refused(value.as_bytes(), Signature, "SignatureValue is not base64");
    let value = sign_with(&insert(&pretty(&base()), &template()), bank(), "x".into(), |_| {
        BASE64.encode([1; 256])
    });
    refused(value.as_bytes(), Signature, "SignatureValue does not match");
}

#[test]
fn signers() {
    let stranger = stranger();
    let foreign = iso20022::seal_envelope(&order(1), &stranger.signer, KEY_INFO_ID);
    refused(&foreign, UnknownSigner, "no registered certificate");
    // Signed by another key under our name.
    refused(
        sign(&insert(&pretty(&base()), &template()), &stranger).as_bytes(),
        Signature,
        "SignatureValue does not match",
    );
}

#[test]
fn whatever_xml_allows_is_accepted() {
    let base = base();
    assert_eq!(accepted(&base), Path::Fast);
    assert_eq!(accepted(&signed_pretty(&base)), Path::Generic);
    // Other quotes and white space in tags, before the root and behind it.
    assert_eq!(
        accepted(
            &base
                .replace(" Ccy=\"BRL\">", "\n Ccy = 'BRL' >")
                .replace("</Document>", "</Document\t>")
        ),
        Path::Generic
    );
    assert_eq!(
        accepted(&format!("\n \t{base}\n")),
        Path::Fast,
        "white space around the root is no part of anything"
    );
    // Entities where canonical XML has none, and CDATA.
    assert_eq!(
        accepted(
            &base
                .replace("SLEV", "&#83;L&#x45;V")
                .replace("almo\u{e7}o", "<![CDATA[almo\u{e7}]]>o")
        ),
        Path::Generic
    );
    assert_eq!(
        accepted(&base.replace("\"Filhos\"", "&quot;Filhos&quot;")),
        Path::Generic
    );
    // The same character, spelt otherwise.
    assert_eq!(accepted(&base.replace("&#xD;", "&#13;")), Path::Generic);
    // Line ends of Windows are line feeds to XML.
    assert_eq!(
        accepted(&signed_pretty(&base).replace('\n', "\r\n")),
        Path::Generic
    );
    // Declarations nobody uses.
    let declared = base.replace(
        "<Document>",
        "<Document xmlns:x=\"urn:x\" xmlns=\"https://www.bcb.gov.br/pi/pacs.008/1.16\">",
    );
    assert_eq!(accepted(&declared), Path::Generic);
    // A prefix instead of the default namespace: other canonical bytes, signed as such.
    let prefixed = pretty(&base)
        .replace("xmlns=", "xmlns:p=")
        .replace("</", "</p:")
        .replace("<", "<p:")
        .replace("<p:/p:", "</p:")
        .replace("<p:?xml", "<?xml")
        .replace("<p:Sgntr></p:Sgntr>", "<p:Sgntr>@</p:Sgntr>");
    assert_eq!(
        accepted(&sign(&prefixed.replace('@', &template()), bank())),
        Path::Generic
    );
    let other_prefix = template().replace("ds:", "dsig:").replace(":ds=", ":dsig=");
    assert_eq!(
        accepted(&sign(&insert(&pretty(&base), &other_prefix), bank())),
        Path::Generic
    );
    let default = template().replace("xmlns:ds=", "xmlns=").replace("ds:", "");
    assert_eq!(
        accepted(&sign(&insert(&pretty(&base), &default), bank())),
        Path::Generic
    );
    let hints = pretty(&base).replace(
        "<Document>",
        "<Document xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"a b\">",
    );
    assert_eq!(
        accepted(&sign(&insert(&hints, &template()), bank())),
        Path::Generic
    );
}

#[test]
fn what_java_and_others_write_is_accepted() {
    let base = base();
    let lines = |end: &str| {
        let written = |value: String| {
            let lines: Vec<&str> = value
                .as_bytes()
                .chunks(76)
                .map(|l| std::str::from_utf8(l).expect("ASCII"))
                .collect();
            lines.join(end)
        };
        sign_with(&insert(&pretty(&base), &template()), bank(), "x".into(), written)
    };
    assert_eq!(accepted(&lines("&#13;\n")), Path::Generic);
    assert_eq!(accepted(&lines("\n")), Path::Generic);
    assert_eq!(
        accepted(&base.replace("<ds:SignatureValue>", "<ds:SignatureValue>\n")),
        Path::Fast,
        "white space in base64"
    );
    let uuid = resigned(|t| t.replace("key-info-id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"));
    assert_eq!(accepted(&uuid), Path::Generic);
    let ids = resigned(|t| {
        t.replace("<ds:Signature ", "<ds:Signature Id=\"xmldsig-1\" ")
            .replace("<ds:SignatureValue>", "<ds:SignatureValue Id=\"value-1\">")
    });
    assert_eq!(accepted(&ids), Path::Generic);
    let (name, serial) = issuer_name();
    let parts: Vec<&str> = name.split(", ").collect();
    assert!(parts.len() >= 3, "{name}");
    let padded = resigned(|t| t.replace(&format!(">{serial}<"), &format!(">\n 00{serial} <")));
    assert_eq!(accepted(&padded), Path::Generic);
    let tight = resigned(|t| t.replace(", O=", ",O=").replace(", C=", ",c="));
    assert_eq!(accepted(&tight), Path::Generic);
}

/// Many namespaces at every level, in scope of many elements: within every cap, and still cheap.
#[test]
fn namespaces_do_not_multiply() {
    let mut piece = String::new();
    for level in 0..20 {
        let names = (0..15).map(|i| format!(" xmlns:p{level}x{i}=\"urn:{i}\" p{level}x{i}:a=\"\""));
        piece.push_str(&format!("<a{}>", names.collect::<String>()));
    }
    piece.push_str(&"<b xmlns:q=\"urn:q\" q:a=\"\"/>".repeat(3_000));
    piece.push_str(&"</a>".repeat(20));
    let message = base().replacen("<ChrgBr>", &format!("{piece}<ChrgBr>"), 1);
    let start = std::time::Instant::now();
    refused(message.as_bytes(), Signature, "digest of Document");
    // It takes some tens of milliseconds without optimisation; copies at every level would take many seconds.
    assert!(
        start.elapsed() < std::time::Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
