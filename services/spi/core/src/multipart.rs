//! `multipart/mixed` as participants send it (RFC 2046, 5.1): up to ten messages, each with its Content-Type.

use bytes::Bytes;

/// Messages in one request (ICOM manual).
pub const PARTS_MAX: usize = 10;
/// Longest boundary (RFC 2046, 5.1.1).
const BOUNDARY_MAX: usize = 70;
/// Header lines of one part, in octets together.
const PART_HEAD_BYTES_MAX: usize = 2048;

/// Why a body is no multipart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMultipart {
    /// There is no boundary, or a too long one.
    #[error("the Content-Type has no boundary of 1 to 70 characters")]
    Boundary,
    /// The boundary is not in the body.
    #[error("the body does not hold the boundary of its Content-Type")]
    NoStart,
    /// A part without an end.
    #[error("a part is not followed by the boundary; the last boundary ends with --")]
    Cut,
    /// The headers of a part are none.
    #[error("the headers of a part do not end within 2048 octets")]
    Head,
    /// No part at all.
    #[error("there is no part")]
    Empty,
    /// More than [`PARTS_MAX`].
    #[error("a request carries at most 10 messages")]
    TooMany,
}

/// One part: its `Content-Type`, when it has one, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As it was written.
    pub content_type: Option<String>,
    /// Its octets.
    pub body: Bytes,
}

/// The boundary inside a `Content-Type`, quoted or not.
///
/// # Errors
/// [`InvalidMultipart::Boundary`].
pub fn boundary(content_type: &str) -> Result<&str, InvalidMultipart> {
    let parameters = content_type.split(';').skip(1).map(str::trim);
    let value = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"'));
    value
        .filter(|value| matches!(value.len(), 1..=BOUNDARY_MAX))
        .ok_or(InvalidMultipart::Boundary)
}

/// Takes the body apart. The parts share its memory; what stands before the first boundary and behind the last says
/// nothing.
///
/// # Errors
/// [`InvalidMultipart`] by what is missing.
pub fn split(body: &Bytes, boundary: &str) -> Result<Vec<Part>, InvalidMultipart> {
    let delimiter = format!("--{boundary}");
    let mut at = next_line(body, 0, &delimiter).ok_or(InvalidMultipart::NoStart)?.1;
    let mut parts = Vec::new();
    // The last delimiter has `--` behind it.
    while !body[at..].starts_with(b"--") {
        if parts.len() == PARTS_MAX {
            return Err(InvalidMultipart::TooMany);
        }
        let start = line_end(body, at).ok_or(InvalidMultipart::Cut)?;
        let (content_type, content) = head(body, start)?;
        let (end, after) = next_line(body, content, &delimiter).ok_or(InvalidMultipart::Cut)?;
        parts.push(Part {
            content_type,
            body: body.slice(content..end),
        });
        at = after;
    }
    if parts.is_empty() {
        return Err(InvalidMultipart::Empty);
    }
    Ok(parts)
}

/// The next line that begins with `delimiter` and has nothing else but spaces, or `--`, behind it: where the line end
/// before it starts, and where the delimiter ends.
fn next_line(body: &[u8], from: usize, delimiter: &str) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = at + find(&body[at..], delimiter.as_bytes())?;
        let end = found + delimiter.len();
        // A content may be empty: then the line end behind the headers is the one before the delimiter.
        let begins = found == 0 || body[..found].ends_with(b"\r\n");
        let rest = &body[end..];
        let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        if begins && (rest.starts_with(b"--") || rest[blanks..].starts_with(b"\r\n")) {
            return Some((found.saturating_sub(2).max(from), end));
        }
        at = end;
    }
}

/// Where the line at `at` ends, its line end included.
fn line_end(body: &[u8], at: usize) -> Option<usize> {
    find(&body[at..], b"\r\n").map(|found| at + found + 2)
}

/// The `Content-Type` among the header lines from `start` on, and where they end.
fn head(body: &[u8], start: usize) -> Result<(Option<String>, usize), InvalidMultipart> {
    let mut content_type = None;
    let mut at = start;
    loop {
        let end = line_end(body, at).ok_or(InvalidMultipart::Head)?;
        if end - start > PART_HEAD_BYTES_MAX {
            return Err(InvalidMultipart::Head);
        }
        let line = &body[at..end - 2];
        if line.is_empty() {
            return Ok((content_type, end));
        }
        let line = std::str::from_utf8(line).map_err(|_| InvalidMultipart::Head)?;
        let (name, value) = line.split_once(':').ok_or(InvalidMultipart::Head)?;
        if name.trim().eq_ignore_ascii_case("content-type") {
            content_type = Some(value.trim().to_owned());
        }
        at = end;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(body: &str) -> Result<Vec<String>, InvalidMultipart> {
        let body = Bytes::from(body.to_owned());
        let parts = split(&body, "b b")?;
        let text = |part: Part| String::from_utf8(part.body.to_vec()).expect("as given");
        Ok(parts.into_iter().map(text).collect())
    }

    #[test]
    fn the_boundary_may_be_quoted_and_is_bounded() {
        assert_eq!(boundary("multipart/mixed; boundary=\"b b\""), Ok("b b"));
        assert_eq!(boundary("multipart/mixed;charset=utf-8; Boundary=x"), Ok("x"));
        for wrong in ["multipart/mixed", "multipart/mixed; boundary="] {
            assert_eq!(boundary(wrong), Err(InvalidMultipart::Boundary));
        }
        let long = format!("multipart/mixed; boundary={}", "x".repeat(71));
        assert_eq!(boundary(&long), Err(InvalidMultipart::Boundary));
    }

    #[test]
    fn parts_are_what_stands_between_boundary_lines() {
        let body = "preamble\r\n--b b\r\nContent-Type: application/xml\r\n\r\n<a/>\r\n--b b  \r\n\r\n\r\n<b>\r\n--b bx\r\n</b>\r\n--b b--\r\nepilogue";
        assert_eq!(parts(body).expect("two"), ["<a/>", "\r\n<b>\r\n--b bx\r\n</b>"]);
        let body = Bytes::from(body);
        let kinds: Vec<_> = split(&body, "b b")
            .expect("two")
            .into_iter()
            .map(|p| p.content_type)
            .collect();
        assert_eq!(kinds, [Some("application/xml".to_owned()), None]);
        assert_eq!(parts("--b b\r\n\r\n\r\n--b b--").expect("one"), [""]);
    }

    #[test]
    fn a_boundary_that_lies_is_refused() {
        assert_eq!(parts("<a/>"), Err(InvalidMultipart::NoStart));
        assert_eq!(parts("--b b\r\n\r\n<a/>"), Err(InvalidMultipart::Cut));
        assert_eq!(
            parts("--b b\r\n\r\n<a/>\r\n--b b\r\n"),
            Err(InvalidMultipart::Head)
        );
        assert_eq!(parts("--b b--\r\n"), Err(InvalidMultipart::Empty));
        assert_eq!(
            parts("--b b\r\nno colon\r\n\r\n\r\n--b b--"),
            Err(InvalidMultipart::Head)
        );
        let long = format!(
            "--b b\r\nX: {}\r\n\r\n\r\n--b b--",
            "x".repeat(PART_HEAD_BYTES_MAX)
        );
        assert_eq!(parts(&long), Err(InvalidMultipart::Head));
        let many = "--b b\r\n\r\n<a/>\r\n".repeat(11) + "--b b--";
        assert_eq!(parts(&many), Err(InvalidMultipart::TooMany));
    }

    #[test]
    fn any_bytes_have_an_answer() {
        let alphabet = [&b"--b b"[..], b"\r\n", b"--", b":", b"x", b" ", b"\0", b"\xff"];
        let mut state = 7_u32;
        for _ in 0..20_000 {
            let mut body = Vec::new();
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                body.extend_from_slice(alphabet[(state >> 29) as usize]);
            }
            let body = Bytes::from(body);
            if let Ok(parts) = split(&body, "b b") {
                assert!(parts.iter().all(|part| part.body.len() < body.len()));
            }
        }
    }
}
