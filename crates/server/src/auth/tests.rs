//! What is let in and what is refused: requests that botocore has signed, and some that are signed here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::{Builder, Parts};
use http::{HeaderName, HeaderValue, Request};
use tidegate_core::{Access, Action, Operation, Pattern, QueueName, Right, Timestamp};

use super::canonical::canonical_request;
use super::claim::Scope;
use super::signature::{hash, sign};
use super::{Gate, Identity, Keys, Secret, SignedFor, instant};
use crate::sqs::{Code, Failure};

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const OTHER: &str = "another+secret/of+its/own+with+40+letters";
const DATE: &str = "20261128T140000Z";
const TARGET: &str = "AmazonSQS.SendMessage";

fn now() -> Timestamp {
    instant::parse(DATE).unwrap()
}

fn after(seconds: u64) -> Timestamp {
    now().plus(Duration::from_secs(seconds))
}

fn before(seconds: u64) -> Timestamp {
    Timestamp::from_millis(now().as_millis() - seconds * 1_000)
}

fn keys() -> Keys {
    let mut keys = Keys::new();
    let right = |action| Right { queues: Pattern::new("mail*").unwrap(), actions: vec![action] };
    keys.add(ID, Secret::new(SECRET).unwrap(), vec![right(Action::Send)]).unwrap();
    let rights = vec![right(Action::Receive)];
    keys.add("111122223333", Secret::new(OTHER).unwrap(), rights).unwrap();
    keys.add("other", Secret::new("a-third-secret-of-its-own").unwrap(), Vec::new()).unwrap();
    keys
}

struct Signed {
    name: String,
    parts: Parts,
    body: Bytes,
}

/// What botocore has signed.
fn of_botocore() -> Vec<Signed> {
    let text = include_str!("../../tests/sigv4/botocore.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    let requests = file["requests"].as_array().unwrap().iter().map(|one| {
        let text = |name: &str| one[name].as_str().unwrap();
        let mut request = Request::builder().method(text("method")).uri(text("place"));
        for header in one["headers"].as_array().unwrap() {
            let [name, value] = [0, 1].map(|n| header[n].as_str().unwrap());
            // As they are once they have come over the wire.
            request = request.header(name, value.trim());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = STANDARD.decode(text("body")).unwrap().into();
        Signed { name: text("name").to_owned(), parts, body }
    });
    requests.collect()
}

fn one(name: &str) -> Signed {
    of_botocore().into_iter().find(|signed| signed.name == name).unwrap()
}

/// A request that is signed as it should be, so that what is wrong is what the test has made wrong.
struct Signer<'a> {
    headers: &'a str,
    credential: &'a str,
    date: &'a str,
    body: &'a [u8],
}

impl Signer<'_> {
    const RIGHT: Self = Signer {
        headers: "content-type;host;x-amz-date;x-amz-target",
        credential: "AKIDEXAMPLE/20261128/eu-west-1/sqs/aws4_request",
        date: DATE,
        body: b"{}",
    };

    fn request(&self) -> Builder {
        let request = Request::post("/").header("host", "localhost:9324");
        let request = request.header("content-type", "application/x-amz-json-1.0");
        request.header("x-amz-date", self.date).header("x-amz-target", TARGET)
    }

    fn sign(&self, request: Builder) -> Signed {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Self { headers, credential, date, body } = *self;
        let names: Vec<&str> = headers.split(';').collect();
        let text = canonical_request(&parts, &names, &hash(body)).unwrap_or_default();
        let part = |n| credential.split('/').nth(n).unwrap_or_default().to_owned();
        let scope = Scope { day: part(1), region: part(2), service: part(3) };
        let signature = sign(&Secret::new(SECRET).unwrap(), &scope, date, &text);
        let header = format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"
        );
        parts.headers.insert("authorization", header.parse().unwrap());
        Signed { name: String::new(), parts, body: Bytes::copy_from_slice(body) }
    }
}

impl Signed {
    fn at(&self, now: Timestamp) -> Result<Identity, Failure> {
        keys().identify(&self.parts, &self.body, now)
    }

    #[track_caller]
    fn is_refused(&self, code: Code, why: &str) {
        self.is_refused_at(now(), code, why);
    }

    #[track_caller]
    fn is_refused_at(&self, now: Timestamp, code: Code, why: &str) {
        let refused = self.at(now).unwrap_err();
        assert_eq!(refused.code, code, "{}: {}", self.name, refused.message);
        assert!(refused.message.contains(why), "{}: {}", self.name, refused.message);
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        self.parts.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }
}

fn may(access: &Access, action: Action) -> bool {
    let queue = QueueName::new("mail").unwrap();
    access.require(action, &queue, Operation::Inspect).is_ok()
}

#[test]
fn what_botocore_signs_is_let_in() {
    let requests = of_botocore();
    assert_eq!(requests.len(), 12);
    for signed in requests {
        let identity = signed.at(now()).unwrap_or_else(|why| panic!("{}: {why:?}", signed.name));
        let is_other = signed.name.contains("other");
        assert_eq!(identity.account.as_deref(), is_other.then_some("111122223333"));
        let is_sts = signed.name == "sts";
        let region =
            if signed.name.contains("region") || is_sts { "us-east-1" } else { "eu-west-1" };
        assert_eq!(identity.region.as_deref(), Some(region));
        assert_eq!(identity.service, Some(if is_sts { SignedFor::Sts } else { SignedFor::Sqs }));
        assert!(may(&identity.access, if is_other { Action::Receive } else { Action::Send }));
        assert!(!may(&identity.access, Action::Administer));
    }
}

#[test]
fn what_is_signed_here_is_let_in() {
    let signer = Signer::RIGHT;
    assert_eq!(signer.sign(signer.request()).at(now()).unwrap().access_key.as_deref(), Some(ID));
}

#[test]
fn a_changed_body_address_header_or_method_is_refused() {
    const CODE: Code = Code::SignatureDoesNotMatch;
    let why = "does not match the signature you provided";
    let mut signed = one("json send");
    signed.body = Bytes::from_static(b"{}");
    signed.is_refused(CODE, why);
    let mut signed = one("query get");
    signed.parts.uri = "/000000000000/mail?Action=DeleteQueue&Version=2012-11-05".parse().unwrap();
    signed.is_refused(CODE, why);
    let mut signed = one("json send");
    signed.parts.headers.insert("x-amz-target", HeaderValue::from_static("AmazonSQS.PurgeQueue"));
    signed.is_refused(CODE, why);
    let mut signed = one("presigned get");
    signed.parts.method = http::Method::POST;
    signed.is_refused(CODE, why);
    let mut signed = one("json send");
    signed.parts.uri = "/000000000000/other".parse().unwrap();
    signed.is_refused(CODE, why);
}

#[test]
fn another_keys_signature_is_refused_and_an_unknown_key_is_too() {
    let with_key = |key: &str| {
        let mut signed = one("json send");
        let header = signed.parts.headers["authorization"].to_str().unwrap().replace(ID, key);
        signed.parts.headers.insert("authorization", header.parse().unwrap());
        signed
    };
    with_key("other").is_refused(Code::SignatureDoesNotMatch, "does not match");
    let invalid = "The security token included in the request is invalid.";
    with_key("AKIDNOBODY").is_refused(Code::InvalidClientTokenId, invalid);
}

#[test]
fn nobody_signs_with_what_stands_in_for_an_unknown_key() {
    let signer =
        Signer { credential: "AKIDNOBODY/20261128/eu-west-1/sqs/aws4_request", ..Signer::RIGHT };
    let mut keys = Keys::new();
    keys.add("other", Secret::new(OTHER).unwrap(), Vec::new()).unwrap();
    keys.nobody_signs_with(SECRET);
    let Signed { parts, body, .. } = signer.sign(signer.request());
    let refused = keys.identify(&parts, &body, now()).unwrap_err();
    assert_eq!(refused.code, Code::InvalidClientTokenId);
}

#[test]
fn a_signature_holds_for_fifteen_minutes_around_its_time() {
    let signed = one("json send");
    assert!(signed.at(after(900)).is_ok() && signed.at(before(900)).is_ok());
    let expired = "Signature expired: 20261128T140000Z is now earlier than 20261128T140001Z \
                   (20261128T141501Z - 15 min.)";
    signed.is_refused_at(after(901), Code::SignatureDoesNotMatch, expired);
    let early = "Signature not yet current: 20261128T140000Z is still later than 20261128T135959Z \
                 (20261128T134459Z + 15 min.)";
    signed.is_refused_at(before(901), Code::SignatureDoesNotMatch, early);
}

#[test]
fn a_presigned_address_holds_as_long_as_it_says() {
    let signed = one("presigned get");
    assert!(signed.at(after(3_600)).is_ok() && signed.at(before(900)).is_ok());
    let expired = "Signature expired: 20261128T150000Z is now earlier than 20261128T150001Z";
    signed.is_refused_at(after(3_601), Code::SignatureDoesNotMatch, expired);
    signed.is_refused_at(before(901), Code::SignatureDoesNotMatch, "not yet current");
    for wrong in ["0", "604801", "-1", "+60", "x", ""] {
        let mut signed = one("presigned get");
        let uri = signed.parts.uri.to_string();
        let uri = uri.replace("X-Amz-Expires=3600", &format!("X-Amz-Expires={wrong}"));
        signed.parts.uri = uri.parse().unwrap();
        signed.is_refused(Code::IncompleteSignature, "X-Amz-Expires");
    }
}

#[test]
fn what_changes_a_requests_meaning_must_be_signed() {
    let refused = |headers, request: fn(Builder) -> Builder, why| {
        let signer = Signer { headers, ..Signer::RIGHT };
        signer.sign(request(signer.request())).is_refused(Code::IncompleteSignature, why);
    };
    let as_is = |request: Builder| request;
    refused("content-type;host;x-amz-date", as_is, "'x-amz-target' must be a signed header");
    refused("content-type;host;x-amz-target", as_is, "'x-amz-date' must be a signed header");
    refused("content-type;x-amz-date;x-amz-target", as_is, "'Host' must be a signed header");
    refused("host;x-amz-date;x-amz-target", as_is, "'Content-Type' must be a signed header");
    let more = |request: Builder| request.header("x-amz-more", "1");
    refused(Signer::RIGHT.headers, more, "'x-amz-more' must be a signed header");
    let twice = |request: Builder| request.header("x-amz-target", TARGET);
    refused(Signer::RIGHT.headers, twice, "'x-amz-target' is there twice");
    let hosts = |request: Builder| request.header("host", "elsewhere");
    refused(Signer::RIGHT.headers, hosts, "'host' is there twice");
    refused("host;content-type;x-amz-date;x-amz-target", as_is, "not in order");
    refused("content-type;host;host;x-amz-date;x-amz-target", as_is, "not in order");
    refused("Host;content-type;x-amz-date;x-amz-target", as_is, "'Host' is signed and not there");
    refused(
        "content-type;gone;host;x-amz-date;x-amz-target",
        as_is,
        "'gone' is signed and not there",
    );
    refused(";content-type;host;x-amz-date;x-amz-target", as_is, "'' is signed and not there");
}

#[test]
fn an_address_in_full_is_of_the_signed_host() {
    let at = |uri: &'static str| {
        let mut signed = one("query send");
        signed.parts.uri = uri.parse().unwrap();
        signed
    };
    assert!(at("http://127.0.0.1:9324/000000000000/mail").at(now()).is_ok());
    for other in ["http://elsewhere/000000000000/mail", "http://a@127.0.0.1:9324/000000000000/mail"]
    {
        at(other).is_refused(Code::IncompleteSignature, "different hosts");
    }
}

#[test]
fn a_forms_content_type_need_not_be_signed() {
    let signer = Signer { headers: "host;x-amz-date", body: b"Action=ListQueues", ..Signer::RIGHT };
    let request = || Request::post("/").header("host", "a").header("x-amz-date", DATE);
    let form = request().header("content-type", "application/x-www-form-urlencoded");
    assert!(signer.sign(form).at(now()).is_ok());
    let other = request().header("content-type", "text/plain");
    signer.sign(other).is_refused(Code::IncompleteSignature, "'Content-Type' must be");
}

#[test]
fn a_credential_is_of_its_day_this_service_and_nothing_else() {
    let refused = |credential, code, why| {
        let signer = Signer { credential, ..Signer::RIGHT };
        signer.sign(signer.request()).is_refused(code, why);
    };
    let wrong = Code::SignatureDoesNotMatch;
    refused("AKIDEXAMPLE/20261127/eu-west-1/sqs/aws4_request", wrong, "Date in Credential scope");
    refused("AKIDEXAMPLE/2026/eu-west-1/sqs/aws4_request", wrong, "Date in Credential scope");
    refused("AKIDEXAMPLE/20261128/eu.west/sqs/aws4_request", wrong, "to a valid region");
    refused("AKIDEXAMPLE/20261128/eu-west-1/s3/aws4_request", wrong, "correct service: 'sqs'");
    refused("AKIDEXAMPLE/20261128/eu-west-1/sqs/aws5_request", wrong, "valid terminator");
    let incomplete = Code::IncompleteSignature;
    refused("AKIDEXAMPLE/20261128/eu-west-1/sqs", incomplete, "5 slash-delimited elements");
    refused("AKIDEXAMPLE/20261128/eu-west-1/sqs/aws4_request/", incomplete, "5 slash-delimited");
}

#[test]
fn what_cannot_be_read_is_incomplete_and_what_is_not_signed_is_missing() {
    let with = |header: &str| {
        let request = Request::post("/").header("host", "a").header("x-amz-date", DATE);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::new();
        let signed = Signed { name: header.to_owned(), parts, body };
        if header.is_empty() { signed } else { signed.with("authorization", header) }
    };
    with("").is_refused(Code::MissingAuthenticationToken, "missing Authentication Token");
    let parts = "Credential=a/20261128/r/sqs/aws4_request, SignedHeaders=host;x-amz-date";
    let cases = [
        ("Basic YTpi", "Unsupported AWS 'algorithm'"),
        ("AWS4-HMAC-SHA1 Credential=a", "Unsupported AWS 'algorithm'"),
        ("AWS4-HMAC-SHA256", "no key=value pair"),
        ("AWS4-HMAC-SHA256 Credential", "no key=value pair"),
        ("AWS4-HMAC-SHA256 Signature=00", "requires 'Credential' parameter"),
        (&format!("AWS4-HMAC-SHA256 {parts}"), "requires 'Signature' parameter"),
        (&format!("AWS4-HMAC-SHA256 {parts}, Signature="), "requires 'Signature' parameter"),
        (&format!("AWS4-HMAC-SHA256 {parts}, Signature=0, Signature=0"), "a part twice"),
        (&format!("AWS4-HMAC-SHA256 {parts}, Signature=0, More=0"), "a part that is not known"),
    ];
    for (header, why) in cases {
        with(header).is_refused(Code::IncompleteSignature, why);
    }
    let right = format!("AWS4-HMAC-SHA256 {parts}, Signature=0");
    let twice = with(&right).with("authorization", &right);
    twice.is_refused(Code::IncompleteSignature, "'authorization' is there twice");
    let mut undated = with(&right);
    undated.parts.headers.remove("x-amz-date");
    undated.is_refused(Code::IncompleteSignature, "'X-Amz-Date' header");
    let undated = Signer { date: "2026-11-28", ..Signer::RIGHT };
    undated.sign(undated.request()).is_refused(Code::IncompleteSignature, "ISO-8601");
}

#[test]
fn an_address_says_everything_once() {
    let with = |more: &str| {
        let mut signed = one("presigned get");
        signed.parts.uri = format!("{}&{more}", signed.parts.uri).parse().unwrap();
        signed
    };
    let twice = "A parameter is there twice";
    with("Action=DeleteQueue").is_refused(Code::IncompleteSignature, twice);
    with("X-Amz-Signature=0").is_refused(Code::IncompleteSignature, twice);
    let both = one("presigned get").with("authorization", "AWS4-HMAC-SHA256 Credential=a");
    both.is_refused(Code::IncompleteSignature, "signed in two ways");
    let target = one("presigned get").with("x-amz-target", "AmazonSQS.PurgeQueue");
    target.is_refused(Code::IncompleteSignature, "'x-amz-target' must be a signed header");
}

#[test]
fn credentials_of_a_session_are_refused() {
    let header = Signer {
        headers: "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
        ..Signer::RIGHT
    };
    let signed = header.sign(header.request().header("x-amz-security-token", "token"));
    signed.is_refused(Code::InvalidClientTokenId, "security token");
    let mut signed = one("presigned get");
    let uri = format!("{}&X-Amz-Security-Token=token", signed.parts.uri);
    signed.parts.uri = uri.parse().unwrap();
    signed.is_refused(Code::InvalidClientTokenId, "security token");
}

#[test]
fn a_hash_of_the_body_that_is_told_is_its_hash() {
    let told = |value: &str| {
        let headers = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target";
        let signer = Signer { headers, ..Signer::RIGHT };
        signer.sign(signer.request().header("x-amz-content-sha256", value))
    };
    assert!(told(&hash(b"{}")).at(now()).is_ok());
    for wrong in ["UNSIGNED-PAYLOAD", &hash(b""), &hash(b"{}").to_uppercase()] {
        told(wrong).is_refused(Code::SignatureDoesNotMatch, "x-amz-content-sha256");
    }
}

#[test]
fn nothing_shows_a_secret() {
    assert_eq!(format!("{:?}", keys()), r#"["111122223333", "AKIDEXAMPLE", "other"]"#);
    assert_eq!(format!("{:?}", Secret::new(SECRET).unwrap()), "Secret(..)");
    for signed in of_botocore() {
        let mut shown = format!("{:?}", signed.at(now()).unwrap());
        shown += &format!("{:?}", signed.at(after(1_000_000)).unwrap_err());
        assert!(!shown.contains("wJalr"), "{shown}");
    }
    for secret in ["hunter2", "hunter2-hunter2\n", "hunter2 hunter2 hunter2", "hünter2-hunter2-"] {
        let refused = Secret::new(secret).unwrap_err();
        assert!(!refused.contains("nter2"), "{refused}");
    }
}

#[test]
fn ids_stand_for_one_key_each() {
    let mut keys = keys();
    let same = keys.add("same", Secret::new(SECRET).unwrap(), Vec::new());
    assert!(same.unwrap_err().contains("\"same\" has the secret of \"AKIDEXAMPLE\""));
    let mut add = |id: &str| {
        let secret = Secret::new(&format!("secret-of-its-own-{id}"));
        keys.add(id, secret.unwrap_or_else(|_| Secret::new(SECRET).unwrap()), Vec::new())
    };
    assert!(add(ID).unwrap_err().contains("an access key \"AKIDEXAMPLE\" already"));
    for wrong in ["", "a/b", "a b", "a,b", "ü", &"x".repeat(129)] {
        assert!(add(wrong).unwrap_err().contains("1 to 128"), "{wrong}");
    }
    for n in 3..super::KEYS_MAX {
        add(&format!("key-{n}")).unwrap();
    }
    assert!(add("one-more").unwrap_err().contains("at most 1000"));
}
