//! Access keys: who has which secret, and what that allows.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tidegate_core::{Access, Right, Timestamp};

use super::canonical::canonical_request;
use super::claim::{self, Claim};
use super::{Gate, Identity, account_of, instant, signature};
use crate::sqs::{Code, Failure};

/// The shortest secret, in characters. WHY: nothing slows down those who try one after the other, so a
/// secret must be longer than what can be tried. AWS's have 40.
pub const SECRET_CHARS_MIN: usize = 16;
/// Most access keys of a server.
pub const KEYS_MAX: usize = 1_000;
/// How far the time of a signature may be from the server's.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);
const CONTENT_HASH: &str = "x-amz-content-sha256";

/// The secret of an access key. Shows nothing in `Debug`.
///
/// The server has to know it as it is: whoever can only compare a hash of it cannot verify a signature.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// At least [`SECRET_CHARS_MIN`] characters, all of them visible ASCII. The error does not show it.
    pub fn new(secret: &str) -> Result<Self, String> {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return Err(format!("a secret has at least {SECRET_CHARS_MIN} characters"));
        }
        if !secret.chars().all(|c| c.is_ascii_graphic()) {
            return Err("a secret has letters, digits and signs of ASCII alone, no blanks".into());
        }
        Ok(Self(format!("AWS4{secret}")))
    }

    /// What the first key is made of.
    pub(super) fn signing(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The access keys that a server knows: a gate for those who sign with one of them. Shows ids and no
/// secrets.
#[derive(Clone)]
pub struct Keys {
    keys: HashMap<String, Key>,
    /// What an unknown key is verified with. WHY: so that the time of an answer does not tell which ids
    /// there are. Nothing it signs is let in.
    nobody: Secret,
}

#[derive(Clone)]
struct Key {
    secret: Secret,
    access: Access,
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

impl Keys {
    /// None yet: nobody is let in.
    pub fn new() -> Self {
        Self { keys: HashMap::new(), nobody: Secret("AWS4".to_owned() + &"0".repeat(40)) }
    }

    /// Adds a key. `id` is what requests and errors call it: 1 to 128 letters, digits, `_`, `-` and `.`.
    /// One of twelve digits is also the account whose queues are meant; others mean the server's own.
    /// `rights` are about the queues of that account, by their names in the protocol. The error says
    /// what is wrong: such an id, one that is there already, a secret that is there already, or more than
    /// [`KEYS_MAX`].
    pub fn add(&mut self, id: &str, secret: Secret, rights: Vec<Right>) -> Result<(), String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if !(1..=128).contains(&id.len()) || !id.bytes().all(allowed) {
            return Err(
                "an access key's id has 1 to 128 letters, digits, '_', '-' and '.'".to_owned()
            );
        }
        if self.keys.len() == KEYS_MAX {
            return Err(format!("there are at most {KEYS_MAX} access keys"));
        }
        if self.keys.contains_key(id) {
            return Err(format!(
                "there is an access key {id:?} already; give each an id of its own"
            ));
        }
        // WHY: an id is not part of what is signed in a header, so one could stand for the other.
        if let Some((other, _)) = self.keys.iter().find(|(_, key)| key.secret.0 == secret.0) {
            return Err(format!("{id:?} has the secret of {other:?}; give each one of its own"));
        }
        self.keys.insert(id.to_owned(), Key { secret, access: Access::of(id, rights) });
        Ok(())
    }

    /// Makes the secret that stands in for an unknown key's known.
    #[cfg(test)]
    pub(super) fn nobody_signs_with(&mut self, secret: &str) {
        self.nobody = Secret(format!("AWS4{secret}"));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What the claim's key allows, if it signed the request.
    fn verify(&self, claim: &Claim<'_>, parts: &Parts, hash: &str) -> Result<Access, Failure> {
        let key = self.keys.get(&claim.access_key);
        let secret = key.map_or(&self.nobody, |key| &key.secret);
        let Claim { scope, signed_headers, signature, date, .. } = claim;
        let names: Vec<&str> = signed_headers.split(';').collect();
        let text = canonical_request(parts, &names, hash).unwrap_or_default();
        let is_right = signature::is_of(signature, secret, scope, date, &text);
        let Some(key) = key else {
            let why = "The security token included in the request is invalid.";
            return Err(Code::InvalidClientTokenId.because(why));
        };
        if is_right { Ok(key.access.clone()) } else { Err(wrong()) }
    }
}

impl Gate for Keys {
    fn identify(&self, parts: &Parts, body: &Bytes, now: Timestamp) -> Result<Identity, Failure> {
        let claim = claim::read(parts)?;
        in_time(&claim, now)?;
        let hash = signature::hash(body);
        let told = parts.headers.get(CONTENT_HASH).map(http::HeaderValue::as_bytes);
        if told.is_some_and(|told| told != hash.as_bytes()) {
            let why = "The value of x-amz-content-sha256 is not the SHA-256 of the body.";
            return Err(Code::SignatureDoesNotMatch.because(why));
        }
        let access = self.verify(&claim, parts, &hash)?;
        let Claim { access_key, scope, service, .. } = claim;
        Ok(Identity {
            account: account_of(&access_key),
            access_key: Some(access_key),
            region: Some(scope.region),
            service: Some(service),
            access,
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids: Vec<_> = self.keys.keys().collect();
        ids.sort_unstable();
        f.debug_list().entries(ids).finish()
    }
}

/// A presigned address holds as long as it says, from when it was signed.
fn in_time(claim: &Claim<'_>, now: Timestamp) -> Result<(), Failure> {
    let Claim { at, date, expires, .. } = claim;
    let (shown, since) = (instant::show(now), now.since(*at));
    let why = match expires {
        _ if at.since(now) > SKEW_MAX => {
            let latest = instant::show(now.plus(SKEW_MAX));
            format!(
                "Signature not yet current: {date} is still later than {latest} ({shown} + 15 min.)"
            )
        }
        None if since > SKEW_MAX => {
            let millis = now.as_millis().saturating_sub(SKEW_MAX.as_millis() as u64);
            let earliest = instant::show(Timestamp::from_millis(millis));
            format!("Signature expired: {date} is now earlier than {earliest} ({shown} - 15 min.)")
        }
        Some(expires) if since > *expires => {
            let end = instant::show(at.plus(*expires));
            format!("Signature expired: {end} is now earlier than {shown}")
        }
        _ => return Ok(()),
    };
    Err(Code::SignatureDoesNotMatch.because(why))
}

fn wrong() -> Failure {
    let why = "The request signature we calculated does not match the signature you provided. Check \
               your AWS Secret Access Key and signing method. Consult the service documentation for \
               details.";
    Code::SignatureDoesNotMatch.because(why)
}
