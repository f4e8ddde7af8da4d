//! What a request says of itself: whose key signed it, when, for what, and which headers.
//!
//! Nothing of it is believed yet. What is left out, twice there or said in two ways is refused here, so
//! that nobody reads it otherwise than it was signed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use tidegate_core::Timestamp;

use super::canonical::SIGNATURE;
use super::{SignedFor, instant, is_region};
use crate::sqs::{Code, Failure};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const TERMINATOR: &str = "aws4_request";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";
/// What AWS adds to a request begins so. Every header that does must be signed: one of them says which
/// action is meant.
const AMZ: &str = "x-amz-";
/// Longest time that a presigned address may hold.
const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How a form's content type begins.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// What a request says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub(super) access_key: String,
    pub(super) scope: Scope,
    pub(super) service: SignedFor,
    /// As it stands in the request: names in lower case, in order, each once.
    pub(super) signed_headers: Cow<'a, str>,
    pub(super) signature: Cow<'a, str>,
    /// When it was signed, and how that is written.
    pub(super) at: Timestamp,
    pub(super) date: String,
    /// How long a presigned address holds.
    pub(super) expires: Option<Duration>,
}

/// What a signature is good for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) day: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// The parts of a signature, wherever they stood.
struct Fields<'a> {
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    signature: Cow<'a, str>,
    date: String,
    expires: Option<Duration>,
}

/// Reads the header, or the address where it is presigned.
pub(super) fn read(parts: &Parts) -> Result<Claim<'_>, Failure> {
    let query = parameters(parts.uri.query().unwrap_or_default())?;
    let is_presigned = query.contains_key(SIGNATURE) || query.contains_key("X-Amz-Algorithm");
    let fields = match (parts.headers.contains_key(AUTHORIZATION), is_presigned) {
        (true, true) => return Err(incomplete("The request is signed in two ways.")),
        (true, false) => in_header(parts)?,
        (false, true) => in_query(query)?,
        (false, false) => {
            let why = "Request is missing Authentication Token";
            return Err(Code::MissingAuthenticationToken.because(why));
        }
    };
    let Fields { credential, signed_headers, signature, date, expires } = fields;
    let at = instant::parse(&date)
        .ok_or_else(|| incomplete("Date must be in ISO-8601 'basic format'."))?;
    let (access_key, scope, service) = credential_of(&credential, &date)?;
    signs_what_matters(parts, &signed_headers)?;
    Ok(Claim { access_key, scope, service, signed_headers, signature, at, date, expires })
}

/// WHY: of fields with one name the server takes the last, but their order is not signed.
fn parameters(query: &str) -> Result<BTreeMap<Cow<'_, str>, Cow<'_, str>>, Failure> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(_twice) = parameters.insert(name, value) {
            return Err(incomplete("A parameter is there twice."));
        }
    }
    let is_token = |name: &Cow<'_, str>| name.eq_ignore_ascii_case(TOKEN);
    if parameters.keys().any(is_token) { Err(has_token()) } else { Ok(parameters) }
}

fn in_header(parts: &Parts) -> Result<Fields<'_>, Failure> {
    let header = once(parts, AUTHORIZATION.as_str())?.unwrap_or_default();
    let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
    check_algorithm(algorithm)?;
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or_else(|| {
            incomplete("Authorization header has a part that is no key=value pair.")
        })?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(incomplete("Authorization header has a part that is not known.")),
        };
        if place.replace(Cow::Borrowed(value)).is_some() {
            return Err(incomplete("Authorization header has a part twice."));
        }
    }
    let needed = |part: Option<Cow<'_, str>>, name| {
        part.filter(|it| !it.is_empty())
            .map(|it| Cow::Owned(it.into_owned()))
            .ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter.")))
    };
    let date = once(parts, DATE)?.ok_or_else(|| {
        incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
    })?;
    Ok(Fields {
        credential: needed(credential, "Credential")?,
        signed_headers: needed(signed_headers, "SignedHeaders")?,
        signature: needed(signature, "Signature")?,
        date: date.to_owned(),
        expires: None,
    })
}

fn in_query<'a>(mut query: BTreeMap<Cow<'a, str>, Cow<'a, str>>) -> Result<Fields<'a>, Failure> {
    let mut needed = |name: &str| {
        query.remove(name).filter(|it| !it.is_empty()).ok_or_else(|| {
            incomplete(format!("AWS query-string parameters must include '{name}'."))
        })
    };
    check_algorithm(&needed("X-Amz-Algorithm")?)?;
    let fields = Fields {
        credential: needed("X-Amz-Credential")?,
        signed_headers: needed("X-Amz-SignedHeaders")?,
        signature: needed(SIGNATURE)?,
        date: needed("X-Amz-Date")?.into_owned(),
        expires: Some(expires_of(&needed("X-Amz-Expires")?)?),
    };
    Ok(fields)
}

fn expires_of(text: &str) -> Result<Duration, Failure> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_number).map(Duration::from_secs);
    let allowed = seconds.filter(|it| !it.is_zero() && *it <= EXPIRES_MAX);
    allowed.ok_or_else(|| incomplete("X-Amz-Expires must be 1 to 604800 seconds."))
}

fn check_algorithm(algorithm: &str) -> Result<(), Failure> {
    if algorithm == ALGORITHM {
        return Ok(());
    }
    Err(incomplete(format!("Unsupported AWS 'algorithm'; there is {ALGORITHM}.")))
}

/// `KEY/DAY/REGION/SERVICE/aws4_request`.
fn credential_of(credential: &str, date: &str) -> Result<(String, Scope, SignedFor), Failure> {
    let wrong = |why: String| Code::SignatureDoesNotMatch.because(why);
    let parts: Vec<&str> = credential.split('/').collect();
    let &[access_key, day, region, service, terminator] = parts.as_slice() else {
        return Err(incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term.",
        ));
    };
    if !date.starts_with(day) || day.len() != 8 {
        return Err(wrong(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP, which is '{date}'."
        )));
    }
    if !is_region(region) {
        return Err(wrong("Credential should be scoped to a valid region.".into()));
    }
    let signed_for = match service {
        "sqs" => SignedFor::Sqs,
        "sts" => SignedFor::Sts,
        _ => return Err(wrong("Credential should be scoped to correct service: 'sqs'.".into())),
    };
    if terminator != TERMINATOR {
        return Err(wrong(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
        )));
    }
    let scope =
        Scope { day: day.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((access_key.to_owned(), scope, signed_for))
}

/// Refuses a request whose meaning others could change on the way: one with headers that say something
/// and are not signed, or are there twice.
fn signs_what_matters(parts: &Parts, signed_headers: &str) -> Result<(), Failure> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    if !names.is_sorted_by(|one, next| one < next) {
        return Err(incomplete("The names of the signed headers are not in order, each once."));
    }
    let is_signed = |name: &str| names.binary_search(&name).is_ok();
    if let Some(gone) = names.iter().find(|name| !has_header(parts, name)) {
        return Err(incomplete(format!("'{}' is signed and not there.", gone.escape_default())));
    }
    if !is_signed(HOST.as_str()) {
        return Err(incomplete("'Host' must be a signed header."));
    }
    if parts.headers.contains_key(TOKEN) {
        return Err(has_token());
    }
    // WHY: an address in full says the host too, which comes before the header's.
    let host = parts.headers.get(HOST).map(http::HeaderValue::as_bytes);
    if parts.uri.authority().is_some_and(|authority| Some(authority.as_str().as_bytes()) != host) {
        return Err(incomplete("The address and 'Host' are of different hosts."));
    }
    for name in parts.headers.keys().map(http::HeaderName::as_str) {
        let is_amz = name.starts_with(AMZ);
        if is_amz && !is_signed(name) {
            return Err(incomplete(format!("'{name}' must be a signed header.")));
        }
        if is_amz || name == HOST || name == CONTENT_TYPE {
            once(parts, name)?;
        }
    }
    // WHY: it says whether the body is a form, and nothing else. Without one it is.
    let content_type = parts.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let is_form = content_type.is_none_or(|it| it.starts_with(FORM));
    if is_form || is_signed(CONTENT_TYPE.as_str()) {
        return Ok(());
    }
    Err(incomplete("'Content-Type' must be a signed header."))
}

/// WHY: names as they are signed, in lower case; a header map finds others too.
fn has_header(parts: &Parts, name: &str) -> bool {
    let is_lower = !name.bytes().any(|b| b.is_ascii_uppercase());
    is_lower && parts.headers.contains_key(name)
}

/// The value of a header that is there once or not at all.
fn once<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a str>, Failure> {
    let mut values = parts.headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(incomplete(format!("'{name}' is there twice.")));
    }
    let unreadable = |_| incomplete(format!("'{name}' cannot be read."));
    first.map(|value| value.to_str().map_err(unreadable)).transpose()
}

fn incomplete(why: impl Into<String>) -> Failure {
    Code::IncompleteSignature.because(why)
}

/// WHY: what has one was signed with credentials of a session, and there are none of those here. To pass
/// over it would be to let in what was meant to end.
fn has_token() -> Failure {
    let why = "The security token included in the request is invalid: access keys of this server have none.";
    Code::InvalidClientTokenId.because(why)
}
