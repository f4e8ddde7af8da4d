//! The text that is signed: a request as AWS writes it down for Signature Version 4.

use std::fmt::Write as _;

use http::HeaderMap;
use http::request::Parts;

/// The parameter of a presigned address that is its signature, and so is not signed itself.
pub(super) const SIGNATURE: &str = "X-Amz-Signature";

/// The canonical request, or `None` if a header of `signed_headers` is not there. `signed_headers` are
/// names in lower case, in the order they are signed in, and `body_hash` is the body's SHA-256 in
/// hexadecimal digits, in lower case.
///
/// The path is written as for every service but S3: without empty parts and dots, and with what was
/// encoded for the way encoded once more.
pub fn canonical_request(
    parts: &Parts,
    signed_headers: &[&str],
    body_hash: &str,
) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(1_024);
    let line = |text: &mut Vec<u8>, line: &[u8]| {
        text.extend_from_slice(line);
        text.push(b'\n');
    };
    line(&mut text, parts.method.as_str().as_bytes());
    line(&mut text, path(parts.uri.path()).as_bytes());
    line(&mut text, query(parts.uri.query().unwrap_or_default()).as_bytes());
    for name in signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        values(&parts.headers, name, &mut text)?;
        text.push(b'\n');
    }
    line(&mut text, b"");
    line(&mut text, signed_headers.join(";").as_bytes());
    text.extend_from_slice(body_hash.as_bytes());
    Some(text)
}

/// WHY: another server than this one could read a path with dots otherwise. This one takes the last two
/// parts as an account and a name, and dots are neither: whatever a path is written as, it is the queue
/// that was signed, or none.
fn path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let mut text = String::with_capacity(path.len() + 8);
    for part in &kept {
        text.push('/');
        encode(part.as_bytes(), &mut text);
    }
    if kept.is_empty() || path.ends_with('/') {
        text.push('/');
    }
    text
}

/// The parameters as the server reads them, in order.
///
/// INVARIANT: what is signed is what is read: both come from `form_urlencoded`.
fn query(query: &str) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let encoded = |text: &str| {
        let mut encoded = String::with_capacity(text.len() + 8);
        encode(text.as_bytes(), &mut encoded);
        encoded
    };
    let signed = pairs.filter(|(name, _)| name != SIGNATURE);
    let mut pairs: Vec<_> = signed.map(|(name, value)| (encoded(&name), encoded(&value))).collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(query.len() + 8);
    for (name, value) in &pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

fn encode(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// All values of a header, with a comma between them, and one blank for each run of blanks within.
fn values(headers: &HeaderMap, name: &str, text: &mut Vec<u8>) -> Option<()> {
    let mut all = headers.get_all(name).iter().peekable();
    all.peek()?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    while let Some(value) = all.next() {
        let mut words = value.as_bytes().split(is_blank).filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            text.extend_from_slice(word);
            if words.peek().is_some() {
                text.push(b' ');
            }
        }
        if all.peek().is_some() {
            text.push(b',');
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_once_more_and_has_no_dots() {
        let cases = [
            ("/", "/"),
            ("", "/"),
            ("/111122223333/mail.fifo", "/111122223333/mail.fifo"),
            ("/a%20b/~_-.", "/a%2520b/~_-."),
            ("//a//b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/../..", "/"),
            ("/a/.", "/a"),
            ("/a:b", "/a%3Ab"),
        ];
        for (given, signed) in cases {
            assert_eq!(path(given), signed, "{given}");
        }
    }

    #[test]
    fn parameters_are_in_order_and_encoded_in_one_way() {
        let cases = [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&A=3", "A=3&a=1&a=2"),
            ("a", "a="),
            ("&&a=1&", "a=1"),
            ("a=1+2%203%2b4", "a=1%202%203%2B4"),
            ("a=%7e%7E~%c3%a9", "a=~~~%C3%A9"),
            ("a=x/y:z=*", "a=x%2Fy%3Az%3D%2A"),
            ("X-Amz-Signature=00&x-amz-signature=1", "x-amz-signature=1"),
        ];
        for (given, signed) in cases {
            assert_eq!(query(given), signed, "{given}");
        }
    }

    #[test]
    fn a_headers_values_are_joined_and_their_blanks_are_one() {
        let mut headers = HeaderMap::new();
        headers.append("a", "  x \t y  ".parse().unwrap());
        headers.append("a", "z".parse().unwrap());
        let mut text = Vec::new();
        assert_eq!(values(&headers, "a", &mut text), Some(()));
        assert_eq!(text, b"x y,z");
        assert_eq!(values(&headers, "b", &mut text), None);
    }
}
