//! A signed request as it is on the wire, and what a server makes of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::Value;

/// A request in its pieces, so that any of them can be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) name: String,
    pub(crate) method: Vec<u8>,
    /// Path and query.
    pub(crate) place: Vec<u8>,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    /// The request as HTTP reads it, if it is one.
    pub(crate) fn read(&self) -> Option<(Parts, Bytes)> {
        let method = Method::from_bytes(&self.method).ok()?;
        let uri = Uri::try_from(self.place.as_slice()).ok()?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name).ok()?;
            request = request.header(name, HeaderValue::from_bytes(trimmed(value)).ok()?);
        }
        let (parts, ()) = request.body(()).ok()?.into_parts();
        Some((parts, Bytes::copy_from_slice(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<usize> {
        self.headers.iter().position(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Without the blanks around it, which are none of a header's value.
pub(crate) fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// Ids and secrets, and the requests that botocore has signed with them.
pub(crate) fn of_botocore() -> (Vec<(String, String)>, Vec<Wire>) {
    let file: Value = serde_json::from_str(include_str!("botocore.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = file["keys"].as_object().unwrap().iter();
    let keys = keys.map(|(id, secret)| (id.clone(), text(secret))).collect();
    let requests = file["requests"].as_array().unwrap().iter().map(|one| {
        let bytes = |value: &Value| text(value).into_bytes();
        let headers = one["headers"].as_array().unwrap().iter();
        Wire {
            name: text(&one["name"]),
            method: bytes(&one["method"]),
            place: bytes(&one["place"]),
            headers: headers.map(|header| (bytes(&header[0]), bytes(&header[1]))).collect(),
            body: STANDARD.decode(text(&one["body"])).unwrap(),
        }
    });
    (keys, requests.collect())
}
