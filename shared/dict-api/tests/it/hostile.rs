//! What must be refused, with its own reason, and what looks strange and must not be.

use pix_dict_api::{
    KEYS_MAX, Operation, Path, ProblemKind, REQUEST_BYTES_MAX, Response, Unreadable, open_problem,
    open_request, open_response, parse_problem, parse_unsigned, parse_unsigned_response, write_unsigned,
};
use pix_xmldsig::SignatureError;

use crate::foreign::{append, insert, pretty, sign, template};
use crate::support::{bank, create, get_entry, requests, sealed, sealed_response};

fn open(message: &[u8]) -> Result<Path, Unreadable> {
    open_request(message, Operation::CreateEntry, &bank().key).map(|opened| {
        assert_eq!(opened.request, create());
        opened.path
    })
}

/// Asserts that `message` is no request of the API, for a reason that says `why`.
#[track_caller]
fn bad(message: &[u8], why: &str) {
    match open(message) {
        Err(Unreadable::BadRequest(said)) => assert!(said.contains(why), "{said:?} does not say {why:?}"),
        other => panic!("{other:?} instead of a BadRequest with {why:?}"),
    }
}

#[track_caller]
fn unsigned(message: &[u8], why: &SignatureError) {
    assert_eq!(open(message), Err(Unreadable::Signature(why.clone())));
}

fn bare() -> String {
    String::from_utf8(write_unsigned(&create())).expect("UTF-8")
}

/// The pretty request after `change`, with a true signature of whatever it then is.
fn resigned(change: impl FnOnce(String) -> String) -> String {
    sign(&insert(&change(pretty(&bare())), &template()))
}

#[test]
fn doctypes_instructions_and_comments() {
    let base = sealed(&create());
    let doctype = "<!DOCTYPE CreateEntryRequest [<!ENTITY a \"b\">]>";
    bad(format!("{doctype}{base}").as_bytes(), "a DOCTYPE");
    bad(
        format!("<?xml version=\"1.0\"?>{doctype}{base}").as_bytes(),
        "a DOCTYPE",
    );
    for (what, piece) in [
        ("a comment", "<!-- -->"),
        ("a processing instruction", "<?php ?>"),
    ] {
        for place in [
            "<CreateEntryRequest",
            "<Entry>",
            "CACC",
            "</ds:SignedInfo>",
            "</CreateEntryRequest>",
        ] {
            let at = base.find(place).expect("a place");
            bad(format!("{}{piece}{}", &base[..at], &base[at..]).as_bytes(), what);
        }
        bad(format!("{base}{piece}").as_bytes(), what);
    }
}

#[test]
fn encodings() {
    let base = sealed(&create());
    let utf_16: Vec<u8> = std::iter::once(0xFEFF)
        .chain(base.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    bad(&utf_16, "UTF-8");
    bad(
        format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{base}").as_bytes(),
        "UTF-8",
    );
    let latin: Vec<u8> = base.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
    bad(&latin, "UTF-8");
    assert_eq!(open(format!("\u{feff}{base}").as_bytes()), Ok(Path::Generic));
    let declared = format!("<?xml version='1.0' encoding='utf-8'?>\n{base}\n");
    assert_eq!(open(declared.as_bytes()), Ok(Path::Generic));
    bad(format!("<?xml version=\"1.1\"?>{base}").as_bytes(), "version");
}

#[test]
fn xml_that_is_not_well_formed() {
    let base = sealed(&create());
    for (from, to, why) in [
        ("<Reason>", "<Reason a=\"1\" a=\"2\">", "twice"),
        ("<Reason>", "<Reason a=b>", "quotes"),
        ("<Reason>", "<p:Reason>", ""),
        ("CACC", "&nbsp;", "entity"),
        ("CACC", "&#0;", "entity or character"),
        ("CACC", "]]>", "]]>"),
        ("CACC", "\u{0}", "character"),
        ("CACC", "\u{ffff}", "character"),
        ("</CreateEntryRequest>", "", "without end"),
        (
            "</CreateEntryRequest>",
            "</CreateEntryRequest><a/>",
            "more than one root",
        ),
        ("</CreateEntryRequest>", "</CreateEntryRequest>x", "outside"),
    ] {
        bad(base.replacen(from, to, 1).as_bytes(), why);
    }
    for nothing in [
        "",
        " ",
        "x",
        "<",
        "<CreateEntryRequest",
        "<?xml version=\"1.0\"?>",
    ] {
        bad(nothing.as_bytes(), "well-formed");
    }
}

#[test]
fn caps() {
    let base = sealed(&create());
    let stuffed = |piece: String| base.replacen("<Reason>", &format!("{piece}<Reason>"), 1);
    let long = stuffed(" ".repeat(REQUEST_BYTES_MAX));
    assert_eq!(open(long.as_bytes()), Err(Unreadable::TooLarge));
    assert_eq!(open(&vec![b'x'; 1 << 20]), Err(Unreadable::TooLarge));
    bad(
        stuffed(format!("{}{}", "<a>".repeat(20), "</a>".repeat(20))).as_bytes(),
        "inside one another",
    );
    let attributes: String = (0..17).map(|i| format!(" a{i}=\"\"")).collect();
    bad(
        stuffed(format!("<a{attributes}/>")).as_bytes(),
        "attributes in one element",
    );
    bad(
        stuffed("<a/>".repeat(2_001)).as_bytes(),
        "elements and attributes",
    );
    let check = |keys: usize, key: &str| {
        let keys = format!("<Key>{key}</Key>").repeat(keys);
        let message = format!("<CheckKeysRequest><Keys>{keys}</Keys></CheckKeysRequest>");
        parse_unsigned(message.as_bytes(), Operation::CheckKeys)
    };
    assert!(check(KEYS_MAX, &"é".repeat(77)).is_ok());
    for (keys, key) in [(0, "a"), (KEYS_MAX + 1, "a"), (1, &*"a".repeat(78))] {
        assert!(
            matches!(check(keys, key), Err(Unreadable::BadRequest(_))),
            "{keys} of {key}"
        );
    }
}

#[test]
fn strange_ways_to_write_the_same_request() {
    let base = bare();
    for (from, to) in [
        ("CACC", "<![CDATA[CACC]]>"),
        ("CACC", "&#67;ACC"),
        ("CACC", "C<![CDATA[AC]]>&#x43;"),
        ("João d'Ávila", "Jo&#xE3;o d&apos;Ávila"),
        (
            "<CreateEntryRequest>",
            "<CreateEntryRequest xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" xmlns:x='urn:x'>",
        ),
        (
            "<CreateEntryRequest>",
            "<CreateEntryRequest xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:noNamespaceSchemaLocation=\"dict.xsd\">",
        ),
        ("</Reason>", "</Reason >"),
        ("<Reason>", "&#13;<Reason>"),
    ] {
        let changed = base.replacen(from, to, 1);
        assert_ne!(changed, base, "{from}");
        for place in [insert, append] {
            let signed = sign(&place(&changed, &template()));
            assert_eq!(open(signed.as_bytes()), Ok(Path::Generic), "{to}\n{signed}");
        }
    }
    // White space between the tags of a canonical message is part of what is signed.
    let spaced = sealed(&create()).replace("<Reason>", "\n<Reason>");
    unsigned(spaced.as_bytes(), &SignatureError::Digest("the message"));
}

#[test]
fn requests_of_another_structure() {
    let change = |from: &'static str, to: &'static str| {
        move |message: String| {
            assert!(message.contains(from), "{from}");
            message.replacen(from, to, 1)
        }
    };
    for (from, to, why) in [
        // Namespaces.
        (
            "<CreateEntryRequest>",
            "<CreateEntryRequest xmlns=\"urn:x\">",
            "without a namespace",
        ),
        ("<Reason>", "<Reason xmlns=\"urn:x\">", "namespace"),
        // Unknown, missing, surplus, out of order.
        ("<Reason>", "<Note>x</Note><Reason>", "Reason is missing"),
        ("<Reason>USER_REQUESTED</Reason>", "", "Reason is missing"),
        (
            "<Reason>USER_REQUESTED</Reason>",
            "<reason>USER_REQUESTED</reason>",
            "Reason is missing",
        ),
        (
            "<Reason>",
            "<Reason>FRAUD</Reason><Reason>",
            "RequestId is missing",
        ),
        ("<KeyType>PHONE</KeyType>", "", "KeyType is missing"),
        (
            "<KeyType>PHONE</KeyType>",
            "<KeyType>CPF</KeyType><KeyType>PHONE</KeyType>",
            "Account is missing",
        ),
        (
            "</Owner>",
            "<TradeName>a</TradeName><TradeName>b</TradeName></Owner>",
            "Owner is missing",
        ),
        (
            "</CreateEntryRequest>",
            "<RequestId>x</RequestId></CreateEntryRequest>",
            "CreateEntryRequest",
        ),
        // Texts where elements are, elements where texts are, attributes.
        ("<Reason>", "x<Reason>", "Reason is missing"),
        ("USER_REQUESTED", "<a>USER_REQUESTED</a>", "Reason is missing"),
        ("<Reason>", "<Reason lang=\"pt\">", "attribute"),
    ] {
        bad(resigned(change(from, to)).as_bytes(), why);
    }
    for (name, request) in requests() {
        if request.operation() != Operation::CreateEntry {
            bad(sealed(&request).as_bytes(), "the root is not CreateEntryRequest");
            assert!(
                parse_unsigned(&write_unsigned(&request), Operation::CreateEntry).is_err(),
                "{name}"
            );
        }
    }
}

#[test]
fn signatures_that_are_missing_several_or_misplaced() {
    let base = sealed(&create());
    unsigned(bare().as_bytes(), &SignatureError::Missing);
    let start = base.find("<ds:Signature ").expect("signed");
    let end = base.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let signature = &base[start..end];
    for empty in ["<Signature></Signature>", "<Signature/>"] {
        let message = base.replace(signature, empty);
        unsigned(message.as_bytes(), &SignatureError::Missing);
        let missing = Err(Unreadable::Signature(SignatureError::Missing));
        assert_eq!(
            parse_unsigned(message.as_bytes(), Operation::CreateEntry),
            missing
        );
    }
    let emptied = base.replace(
        signature,
        "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/>",
    );
    unsigned(emptied.as_bytes(), &SignatureError::Shape("Signature"));
    let nobody_verified = Err(Unreadable::Signature(SignatureError::Misplaced));
    assert_eq!(
        parse_unsigned(base.as_bytes(), Operation::CreateEntry),
        nobody_verified
    );
    unsigned(
        base.replace(signature, &signature.repeat(2)).as_bytes(),
        &SignatureError::Several,
    );
    let nested = base.replace("</ds:KeyInfo>", &format!("{signature}</ds:KeyInfo>"));
    unsigned(nested.as_bytes(), &SignatureError::Several);
    let deeper = bare().replace("<Entry>", &format!("<Entry>{signature}"));
    unsigned(deeper.as_bytes(), &SignatureError::Misplaced);
    let wrapped = format!("<CreateEntryRequest>{base}</CreateEntryRequest>");
    unsigned(wrapped.as_bytes(), &SignatureError::Misplaced);
    // As another child of the root it is as good, but no longer in our profile.
    let last = bare().replace(
        "</CreateEntryRequest>",
        &format!("{signature}</CreateEntryRequest>"),
    );
    assert_eq!(open(last.as_bytes()), Ok(Path::Generic));
}

/// The signed request kept somewhere, another where it is read.
#[test]
fn wrapped_requests() {
    let base = sealed(&create());
    let forged = bare().replace("12345678", "87654321");
    let start = base.find("<ds:Signature ").expect("signed");
    let end = base.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let signature = &base[start..end];
    let moved = forged.replacen("<Entry>", &format!("{signature}<Entry>"), 1);
    unsigned(moved.as_bytes(), &SignatureError::Digest("the message"));
    let original = bare();
    let object = format!("<ds:Object>{original}</ds:Object></ds:Signature>");
    let hidden = signature.replace("</ds:Signature>", &object);
    let hiding = forged.replacen("<Entry>", &format!("{hidden}<Entry>"), 1);
    unsigned(hiding.as_bytes(), &SignatureError::Shape("Signature"));
}

#[test]
fn signatures_of_another_profile() {
    let reference = {
        let template = template();
        let start = template.find("<ds:Reference URI=\"\">").expect("there");
        let end = template.rfind("</ds:Reference>").expect("there") + "</ds:Reference>".len();
        template[start..end].to_owned()
    };
    let sha_1 = "http://www.w3.org/2000/09/xmldsig#sha1";
    for (from, to, why) in [
        (&*reference, String::new(), SignatureError::References),
        (&*reference, reference.repeat(2), SignatureError::References),
        (
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>\n        \
             <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>".to_owned(),
            SignatureError::Algorithm("Transform"),
        ),
        (
            "http://www.w3.org/2001/04/xmlenc#sha256",
            sha_1.to_owned(),
            SignatureError::Algorithm("DigestMethod"),
        ),
        (
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>",
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"/>"
                .to_owned(),
            SignatureError::Algorithm("CanonicalizationMethod"),
        ),
    ] {
        let changed = template().replacen(from, &to, 1);
        assert_ne!(changed, template(), "{from}");
        let signed = sign(&insert(&pretty(&bare()), &changed));
        unsigned(signed.as_bytes(), &why);
    }
    // The order of the references is part of the profile.
    let template = template();
    let first = &template
        [template.find("<ds:Reference URI=\"#").expect("there")..template.find(&reference).expect("there")];
    let swapped = template
        .replace(&reference, "")
        .replacen(first, &format!("{reference}{first}"), 1);
    unsigned(
        sign(&insert(&pretty(&bare()), &swapped)).as_bytes(),
        &SignatureError::References,
    );
    // An SPI signature has a third reference, which a DICT message has nothing for.
    let three = template.replace(
        "</ds:SignedInfo>",
        &format!("{}</ds:SignedInfo>", reference.replace(" URI=\"\"", "")),
    );
    let message = insert(&pretty(&bare()), &three);
    unsigned(message.as_bytes(), &SignatureError::References);
}

#[test]
fn answers_may_grow_and_change_their_order() {
    let sealed = sealed_response(&get_entry());
    let start = sealed.find("<ds:Signature ").expect("signed");
    let end = sealed.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let bare = format!("{}{}", &sealed[..start], &sealed[end..]);
    let at = bare.find("<ResponseTime>").expect("there");
    let entry = bare.find("<Entry>").expect("there");
    let (head, body) = (&bare[at..entry], &bare[entry..bare.rfind("</").expect("there")]);
    let grown = format!(
        "<GetEntryResponse a=\"1\"><New><Entry>x</Entry></New>{}{head}<x:Entry xmlns:x=\"urn:x\"/></GetEntryResponse>",
        body.replace("<Branch>", "<Check b=\"2\">7</Check><Branch>")
            .replace("<Key>", "<Key c=\"3\">")
    );
    let signed = sign(&insert(&pretty(&grown), &template()));
    let opened = open_response(signed.as_bytes(), &bank().key).unwrap_or_else(|e| panic!("{e}\n{signed}"));
    assert_eq!((opened.response, opened.path), (get_entry(), Path::Generic));
    // What we know may neither be missing nor come twice.
    for (from, to) in [
        ("<Branch>", "<Branch>0002</Branch><Branch>"),
        ("<KeyType>PHONE</KeyType>", ""),
        ("GetEntryResponse", "GetClaimResponse"),
        ("<GetEntryResponse>", "<GetEntryResponse xmlns=\"urn:x\">"),
        ("2019-11-18T03:00:00.000Z", "yesterday"),
    ] {
        let changed = bare.replace(from, to);
        assert_ne!(changed, bare, "{from}");
        let refused = parse_unsigned_response(changed.as_bytes());
        assert!(matches!(refused, Err(Unreadable::BadRequest(_))), "{to}");
    }
    assert!(matches!(
        parse_unsigned_response(bare.as_bytes()),
        Ok(Response::Entry(_))
    ));
}

#[test]
fn answers_with_values_to_come_are_true_and_not_understood() {
    let sealed = sealed_response(&get_entry());
    let start = sealed.find("<ds:Signature ").expect("signed");
    let end = sealed.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    let bare = format!("{}{}", &sealed[..start], &sealed[end..]);
    for element in ["KeyType", "AccountType", "Type"] {
        let at = bare.find(&format!("<{element}>")).expect("there") + element.len() + 2;
        let to = at + bare[at..].find('<').expect("there");
        let newer = format!("{}PIGEON{}", &bare[..at], &bare[to..]);
        let signed = sign(&insert(&pretty(&newer), &template()));
        let why = open_response(signed.as_bytes(), &bank().key).expect_err("unknown");
        assert_eq!(why, Unreadable::UnknownValue(element));
        assert!(!why.to_string().contains("PIGEON"));
        // Whoever changed it on its way is found out first.
        let forged = signed.replace("PIGEON", "GOOSE");
        let why = open_response(forged.as_bytes(), &bank().key).expect_err("forged");
        assert!(matches!(why, Unreadable::Signature(_)), "{why}");
        // With anything else wrong it is the form.
        let worse = newer
            .replace("<AccountNumber>", "<AccountNumber>-")
            .replace("<Name>", "<Name>\u{2603}");
        let why = parse_unsigned_response(worse.as_bytes()).expect_err("wrong");
        if element != "KeyType" {
            assert!(matches!(why, Unreadable::BadRequest(_)), "{why}");
        }
    }
}

#[test]
fn problems_of_kinds_to_come_are_what_their_status_says() {
    let of = |kind: &str, status: u16| {
        let message = format!(
            "<problem xmlns=\"urn:ietf:rfc:7807\"><title>t</title><status>{status}</status>\
             <type>https://dict.pi.rsfn.net.br/api/v2/error/{kind}</type><new/></problem>"
        );
        parse_problem(message.as_bytes()).expect("a problem").kind
    };
    assert_eq!(of("EntryBlocked", 400), ProblemKind::EntryBlocked);
    assert_eq!(of("EntryTooOld", 400), ProblemKind::BadRequest);
    assert_eq!(of("EntryTooOld", 404), ProblemKind::NotFound);
    assert_eq!(of("EntryTooOld", 503), ProblemKind::ServiceUnavailable);
    assert_eq!(of("EntryTooOld", 502), ProblemKind::InternalServerError);
    assert!(parse_problem(b"<problem><type>x</type><title>t</title><status>400</status></problem>").is_err());
    assert!(open_problem(b"", &bank().key).is_err());
}
