//! Requests that are signed, and their canonical form, written as plainly as AWS's page says it.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri};
use tidegate_core::Timestamp;
use tidegate_server::auth::{Gate, Keys, Secret};

/// Stands for the hash of the body: it is written down as it is.
pub const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// 2026-11-28 14:00:00 UTC, when the requests of the corpus were signed.
const NOW: Timestamp = Timestamp::from_millis(1_795_874_400_000);

/// A request and the headers that are signed.
pub struct Request {
    pub parts: Parts,
    pub signed_headers: String,
    body: Bytes,
}

impl Request {
    /// Four kinds of lines: the method; the address; the signed headers; headers up to an empty line. Then
    /// the body.
    pub fn read(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let method = Method::from_bytes(lines.next()?).ok()?;
        let uri = Uri::try_from(lines.next()?).ok()?;
        let signed_headers = String::from_utf8(lines.next()?.to_vec()).ok()?;
        let mut request = http::Request::builder().method(method).uri(uri);
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let at = line.iter().position(|byte| *byte == b':')?;
            let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?;
            request = request.header(HeaderName::from_bytes(&line[..at]).ok()?, value);
        }
        let body = lines.collect::<Vec<_>>().join(&b'\n').into();
        let (parts, ()) = request.body(()).ok()?.into_parts();
        Some(Self { parts, signed_headers, body })
    }

    /// Whether a server that knows other secrets does not let it in.
    pub fn is_refused(&self) -> bool {
        let mut keys = Keys::new();
        let secret = Secret::new("a-secret-that-is-in-no-input").expect("it is long enough");
        keys.add("AKIDEXAMPLE", secret, Vec::new()).expect("there is none yet");
        keys.identify(&self.parts, &self.body, NOW).is_err()
    }
}

/// The canonical request.
pub fn plain(request: &Request, names: &[&str]) -> Option<Vec<u8>> {
    let Parts { method, uri, headers, .. } = &request.parts;
    let query = query(uri.query().unwrap_or_default());
    let mut text = format!("{method}\n{}\n{query}\n", path(uri.path())).into_bytes();
    for name in names {
        let values: Vec<Vec<u8>> =
            headers.get_all(*name).iter().map(|value| collapsed(value.as_bytes())).collect();
        if values.is_empty() {
            return None;
        }
        text.extend([name.as_bytes(), b":", &values.join(&b','), b"\n"].concat());
    }
    text.extend(format!("\n{}\n{HASH}", names.join(";")).into_bytes());
    Some(text)
}

fn collapsed(value: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = value.iter().map(|b| if *b == b'\t' { b' ' } else { *b }).collect();
    let mut kept = Vec::new();
    for byte in spaced {
        if byte != b' ' || kept.last().is_some_and(|last| *last != b' ') {
            kept.push(byte);
        }
    }
    if kept.last() == Some(&b' ') {
        kept.pop();
    }
    kept
}

fn path(path: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            kept.pop();
        } else if !part.is_empty() && part != "." {
            kept.push(encoded(part.as_bytes()));
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

fn query(query: &str) -> String {
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (decoded(name), decoded(value));
        if name != "X-Amz-Signature" {
            pairs.push((encoded(name.as_bytes()), encoded(value.as_bytes())));
        }
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn decoded(text: &str) -> String {
    let text = text.as_bytes();
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
