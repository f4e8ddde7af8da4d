//! AWS's own test suite: what it signs is signed here in the same way.

use std::fs;
use std::path::{Path, PathBuf};

use http::Request;
use http::request::Parts;

use super::canonical::canonical_request;
use super::claim::Scope;
use super::keys::Secret;
use super::signature::{hash, is_of, string_to_sign};

/// Cases, and how many requests they are: most are signed in a header and in the address.
const CASES: usize = 30;
const REQUESTS: usize = 59;

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws-signing-test-suite")
}

/// A request as the suite writes it. A line that begins with a blank goes on with the one before.
fn request(text: &str) -> (Parts, &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let head = head.replace("\n ", " ");
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let mut request = Request::builder().method(first.next().unwrap()).uri(first.next().unwrap());
    for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
        let value = http::HeaderValue::from_bytes(value.trim().as_bytes()).unwrap();
        request = request.header(name, value);
    }
    (request.body(()).unwrap().into_parts().0, body.trim_end_matches('\n'))
}

/// What stands in the header or the address: signed headers, signature, credential and date.
fn signed(parts: &Parts) -> [String; 4] {
    let query = parts.uri.query().unwrap_or_default();
    let of_query = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    };
    let header = parts.headers.get("authorization").map(|it| it.to_str().unwrap());
    let of_header = |name: &str| {
        let (_, rest) = header?.split_once(&format!("{name}="))?;
        rest.split(',').next().map(str::to_owned)
    };
    let date = parts.headers.get("x-amz-date").map(|it| it.to_str().unwrap().to_owned());
    [
        of_header("SignedHeaders").or_else(|| of_query("X-Amz-SignedHeaders")).unwrap(),
        of_header("Signature").or_else(|| of_query("X-Amz-Signature")).unwrap(),
        of_header("Credential").or_else(|| of_query("X-Amz-Credential")).unwrap(),
        date.or_else(|| of_query("X-Amz-Date")).unwrap(),
    ]
}

/// Whether there was such a request.
fn check(case: &Path, kind: &str) -> bool {
    let read = |what: &str| fs::read_to_string(case.join(format!("{kind}-{what}.txt"))).ok();
    let Some(text) = read("signed-request") else { return false };
    let at = format!("{} of {}", kind, case.display());
    let (parts, body) = request(&text);
    let [signed_headers, signature, credential, date] = signed(&parts);
    let names: Vec<&str> = signed_headers.split(';').collect();
    let canonical = canonical_request(&parts, &names, &hash(body.as_bytes())).unwrap();
    assert_eq!(String::from_utf8_lossy(&canonical), read("canonical-request").unwrap(), "{at}");
    let [_, day, region, service, _] = credential.split('/').collect::<Vec<_>>()[..] else {
        panic!("{at}: {credential}")
    };
    let [day, region, service] = [day, region, service].map(str::to_owned);
    let scope = Scope { day, region, service };
    let told = read("string-to-sign").unwrap();
    assert_eq!(string_to_sign(&scope, &date, &canonical), told.trim_end(), "{at}");
    let Ok(context) = fs::read(case.join("context.json")) else { return true };
    let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
    let secret = context["credentials"]["secret_access_key"].as_str().unwrap();
    assert!(is_of(&signature, &Secret::new(secret).unwrap(), &scope, &date, &canonical), "{at}");
    true
}

#[test]
fn what_awss_suite_signs_is_signed_here_in_the_same_way() {
    let entries = fs::read_dir(suite()).unwrap().map(|entry| entry.unwrap().path());
    let cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    let kinds = cases.iter().flat_map(|case| ["header", "query"].map(|kind| check(case, kind)));
    assert_eq!((kinds.filter(|there| *there).count(), cases.len()), (REQUESTS, CASES));
}
