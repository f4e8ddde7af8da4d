//! Who asks: from a request to an identity.

use bytes::Bytes;
use http::request::Parts;

use crate::sqs::{Failure, QueuePath};

/// Who sent a request, and which region they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The access key that the request names. Never a secret.
    pub access_key: Option<String>,
    /// The account whose queues are meant where the request does not say; `None` is the server's own.
    pub account: Option<String>,
    /// The region in the credential's scope; `None` is the server's own.
    pub region: Option<String>,
}

/// Lets requests in, or not. The body is whole when it is asked, and within the server's limits.
pub trait Gate: std::fmt::Debug + Send + Sync + 'static {
    /// Who sent the request.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn identify(&self, parts: &Parts, body: &Bytes) -> Result<Identity, Failure>;

    /// Whether they may do `action` there. `queue` is `None` for what is about no queue in particular.
    ///
    /// # Errors
    /// What the client is answered instead.
    fn admit(
        &self,
        identity: &Identity,
        action: &str,
        queue: Option<&QueuePath>,
    ) -> Result<(), Failure>;
}

/// Takes any credentials, or none, and verifies nothing. Twelve digits as the access key are the
/// account, and the credential's scope says the region.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

impl Gate for Anybody {
    fn identify(&self, parts: &Parts, _body: &Bytes) -> Result<Identity, Failure> {
        Ok(credential(parts).map_or_else(Identity::default, |credential| named(&credential)))
    }

    fn admit(&self, _: &Identity, _: &str, _: Option<&QueuePath>) -> Result<(), Failure> {
        Ok(())
    }
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`, from the header or from a presigned address.
fn credential(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(http::header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    if let Some((_, credential)) = header.and_then(|header| header.split_once("Credential=")) {
        return credential.split([',', ' ']).next().map(str::to_owned);
    }
    let query = parts.uri.query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "X-Amz-Credential").map(|(_, value)| value.into_owned())
}

fn named(credential: &str) -> Identity {
    let mut parts = credential.split('/');
    let access_key = parts.next().filter(|key| !key.is_empty()).map(str::to_owned);
    let region = parts.nth(1).filter(|region| is_region(region)).map(str::to_owned);
    let is_account = |key: &&String| key.len() == 12 && key.bytes().all(|b| b.is_ascii_digit());
    Identity { account: access_key.as_ref().filter(is_account).cloned(), region, access_key }
}

/// WHY: it becomes part of a queue's name. The longest of AWS's is 14 characters long.
fn is_region(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=20).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn identity(request: http::request::Builder) -> Identity {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Anybody.identify(&parts, &Bytes::new()).unwrap()
    }

    #[test]
    fn an_account_is_an_access_key_of_twelve_digits_and_the_region_is_in_the_scope() {
        let header = "AWS4-HMAC-SHA256 Credential=111122223333/20261128/eu-west-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=00";
        let named = identity(Request::builder().header("authorization", header));
        assert_eq!(named.account.as_deref(), Some("111122223333"));
        assert_eq!(named.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn a_presigned_address_names_them_too_and_other_keys_are_no_account() {
        let uri = "/?X-Amz-Credential=AKIDEXAMPLE%2F20261128%2Fus-east-2%2Fsqs%2Faws4_request";
        let named = identity(Request::builder().uri(uri));
        assert_eq!(named.access_key.as_deref(), Some("AKIDEXAMPLE"));
        assert_eq!(named.account, None);
        assert_eq!(named.region.as_deref(), Some("us-east-2"));
    }

    #[test]
    fn without_credentials_nobody_is_named_and_no_region_is_more_than_a_name() {
        assert_eq!(identity(Request::builder()), Identity::default());
        let header = "AWS4-HMAC-SHA256 Credential=k/20261128/../sqs/aws4_request";
        assert_eq!(identity(Request::builder().header("authorization", header)).region, None);
    }
}
