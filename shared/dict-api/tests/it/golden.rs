//! What we write, to the byte, but for the signature: its key is another in every run.

use pix_dict_api::{
    Path, open_problem, open_request, open_response, parse_problem, parse_unsigned, parse_unsigned_response,
    seal_problem, write_problem, write_unsigned,
};
use pix_testkit::{assert_golden, golden};

use crate::support::{KEY_INFO_ID, bank, problems, requests, responses, sealed, sealed_response, stranger};

/// `message` without its signature, which has to be the first thing in its root.
fn without_signature(message: &str) -> String {
    let start = message.find("<ds:Signature ").expect("signed");
    let end = message.find("</ds:Signature>").expect("signed") + "</ds:Signature>".len();
    assert_eq!(
        message[..start].matches('<').count(),
        1,
        "the signature is the first child of the root"
    );
    format!("{}{}", &message[..start], &message[end..])
}

#[test]
fn requests_are_written_as_they_always_were() {
    for (name, request) in requests() {
        let message = sealed(&request);
        let opened = open_request(message.as_bytes(), request.operation(), &bank().key).expect(name);
        assert_eq!((&opened.request, opened.path), (&request, Path::Fast), "{name}");
        assert_eq!(&opened.signer, bank().signer.issuer_serial());
        assert_eq!(without_signature(&message).into_bytes(), write_unsigned(&request));
        let file = format!("requests/{name}.xml");
        assert_golden(&file, &write_unsigned(&request));
        assert_eq!(
            parse_unsigned(&golden(&file), request.operation()),
            Ok(request),
            "{name}"
        );
    }
}

#[test]
fn answers_are_written_as_they_always_were() {
    for (name, response) in responses() {
        let message = sealed_response(&response);
        let opened = open_response(message.as_bytes(), &bank().key).expect(name);
        assert_eq!((&opened.response, opened.path), (&response, Path::Fast), "{name}");
        assert!(open_response(message.as_bytes(), &stranger().key).is_err());
        let file = format!("responses/{name}.xml");
        assert_golden(&file, without_signature(&message).as_bytes());
        assert_eq!(parse_unsigned_response(&golden(&file)), Ok(response), "{name}");
    }
}

#[test]
fn problems_are_written_as_they_always_were() {
    for (name, problem) in problems() {
        let message = seal_problem(&problem, &bank().signer, KEY_INFO_ID);
        let opened = open_problem(&message, &bank().key).expect(name);
        assert_eq!((&opened.problem, opened.path), (&problem, Path::Fast), "{name}");
        assert!(open_problem(&message, &stranger().key).is_err());
        let unsigned = write_problem(&problem);
        let message = String::from_utf8(message).expect("UTF-8");
        assert_eq!(without_signature(&message).into_bytes(), unsigned);
        assert!(open_problem(&unsigned, &bank().key).is_err());
        assert_golden(&format!("problems/{name}.xml"), &unsigned);
        assert_eq!(parse_problem(&unsigned), Ok(problem), "{name}");
    }
}
