//! Who asks, and what they may do: from a request to an identity.
//!
//! A [`Gate`] says who sent a request. [`Anybody`] believes what it is told; [`Keys`] verifies AWS
//! Signature Version 4: `claim` is what the request says of itself, `canonical` the text that is signed,
//! `signature` how, `instant` when. `policy` is what the identity may do then.

mod anybody;
mod canonical;
mod claim;
mod instant;
mod keys;
pub(crate) mod policy;
mod signature;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use bytes::Bytes;
use http::request::Parts;
use tidegate_core::{Access, Timestamp};

use crate::sqs::Failure;

pub use anybody::Anybody;
pub use canonical::canonical_request;
pub use keys::{KEYS_MAX, Keys, SECRET_CHARS_MIN, Secret};

/// Who sent a request, which region they mean, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The access key that the request names. Never a secret.
    pub access_key: Option<String>,
    /// The account whose queues are meant where the request does not say; `None` is the server's own.
    pub account: Option<String>,
    /// The region in the credential's scope; `None` is the server's own.
    pub region: Option<String>,
    /// The service that the request was signed for; `None` if nobody looked.
    pub service: Option<SignedFor>,
    /// What they may do, by the names that queues have in the protocol. Unless it is everything, it is
    /// about the queues of their own account alone, in all regions.
    pub access: Access,
}

/// The service in a credential's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedFor {
    /// The queues.
    Sqs,
    /// The question who asks, and nothing else.
    Sts,
}

/// Says who sent a request, or refuses it.
pub trait Gate: std::fmt::Debug + Send + Sync + 'static {
    /// Who sent the request, which comes at `now`. The body is whole, within the server's limits, and
    /// nobody has read it yet.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn identify(&self, parts: &Parts, body: &Bytes, now: Timestamp) -> Result<Identity, Failure>;
}

/// WHY: it becomes part of a queue's name. The longest of AWS's is 14 characters long.
fn is_region(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=20).contains(&text.len()) && text.bytes().all(allowed)
}

/// The account that an access key is: its twelve digits.
fn account_of(access_key: &str) -> Option<String> {
    crate::sqs::is_account(access_key).then(|| access_key.to_owned())
}
