//! `multipart/mixed` as ICOM answers it: parts between boundary lines, each with headers of its own.

use bytes::Bytes;

/// Parts in one answer.
const PARTS_MAX: usize = 10;

/// Why an answer is no such thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidMultipart {
    #[error("the Content-Type has no boundary")]
    NoBoundary,
    #[error("the body does not start with the boundary")]
    NoStart,
    #[error("a part has no end of headers")]
    Headers,
    #[error("a part has no end")]
    Cut,
    #[error("the body has more than {PARTS_MAX} parts")]
    TooMany,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// `PI-ResourceId`, if the part has it.
    pub(crate) resource_id: Option<String>,
    /// What it carries.
    pub(crate) body: Bytes,
}

/// The boundary inside a `Content-Type`, quoted or not.
pub(crate) fn boundary(content_type: &str) -> Result<&str, InvalidMultipart> {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let value = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"'));
    value
        .filter(|value| !value.is_empty())
        .ok_or(InvalidMultipart::NoBoundary)
}

/// Takes the body apart. The parts share its memory.
pub(crate) fn parse(body: &Bytes, boundary: &str) -> Result<Vec<Part>, InvalidMultipart> {
    let delimiter = format!("\r\n--{boundary}");
    // The first boundary may stand at the very start, without the line end before it.
    let mut at = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(_) => delimiter.len() - 2,
        None => find(body, delimiter.as_bytes()).ok_or(InvalidMultipart::NoStart)? + delimiter.len(),
    };
    let mut parts = Vec::new();
    while !body[at..].starts_with(b"--") {
        if parts.len() == PARTS_MAX {
            return Err(InvalidMultipart::TooMany);
        }
        let rest = &body[at..];
        let line = find(rest, b"\r\n").ok_or(InvalidMultipart::Cut)?;
        // A part without headers has its empty line right here.
        let (headers, start) = match rest[line..].strip_prefix(b"\r\n\r\n") {
            Some(_) => (&rest[line..line], at + line + 4),
            None => {
                let length = find(&rest[line + 2..], b"\r\n\r\n").ok_or(InvalidMultipart::Headers)?;
                (&rest[line + 2..line + 2 + length], at + line + 2 + length + 4)
            }
        };
        let length = find(&body[start..], delimiter.as_bytes()).ok_or(InvalidMultipart::Cut)?;
        parts.push(Part {
            resource_id: resource_id(headers),
            body: body.slice(start..start + length),
        });
        at = start + length + delimiter.len();
    }
    Ok(parts)
}

fn resource_id(headers: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(headers).ok()?;
    let headers = text.split("\r\n").filter_map(|line| line.split_once(':'));
    let mut values = headers.filter(|(name, _)| name.trim().eq_ignore_ascii_case("PI-ResourceId"));
    values.next().map(|(_, value)| value.trim().to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(id: Option<&str>, body: &str) -> Part {
        Part {
            resource_id: id.map(str::to_owned),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn boundaries_are_read_quoted_or_not() {
        assert_eq!(
            boundary("multipart/mixed; boundary=\"simple boundary\""),
            Ok("simple boundary")
        );
        assert_eq!(boundary("multipart/mixed;charset=utf-8; Boundary=abc"), Ok("abc"));
        assert_eq!(boundary("multipart/mixed"), Err(InvalidMultipart::NoBoundary));
    }

    #[test]
    fn parts_come_with_their_ids() {
        let body = "preamble\r\n--b\r\nContent-Type: application/xml\r\npi-resourceid: one\r\n\r\n<a/>\
                    \r\n--b\r\n\r\n<b>\r\n</b>\r\n--b--\r\nepilogue";
        let parts = parse(&Bytes::from(body), "b").unwrap();
        assert_eq!(parts, [part(Some("one"), "<a/>"), part(None, "<b>\r\n</b>")]);
        assert_eq!(parse(&Bytes::from("--b--\r\n"), "b"), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_cut_anywhere_is_refused() {
        let body = "--b\r\nPI-ResourceId: one\r\n\r\n<a/>\r\n--b\r\nPI-ResourceId: two\r\n\r\n<b/>\r\n--b--";
        assert_eq!(parse(&Bytes::from(body), "b").unwrap().len(), 2);
        for end in 0..body.len() {
            assert!(
                parse(&Bytes::copy_from_slice(&body.as_bytes()[..end]), "b").is_err(),
                "{end}"
            );
        }
    }

    #[test]
    fn parts_are_counted() {
        let many = "--b\r\n\r\nx\r\n".repeat(11) + "--b--";
        assert_eq!(parse(&Bytes::from(many), "b"), Err(InvalidMultipart::TooMany));
    }
}
