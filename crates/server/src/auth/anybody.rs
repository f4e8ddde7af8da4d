//! A gate that is open.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tidegate_core::{Access, Timestamp};

use super::{Gate, Identity, account_of, is_region};
use crate::sqs::Failure;

/// Takes any credentials, or none, and verifies nothing: all may do all. Twelve digits as the access
/// key are the account, and the credential's scope says the region.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

impl Gate for Anybody {
    fn identify(&self, parts: &Parts, _: &Bytes, _: Timestamp) -> Result<Identity, Failure> {
        Ok(named(&credential(parts).unwrap_or_default()))
    }
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`, from the header or from a presigned address.
fn credential(parts: &Parts) -> Option<Cow<'_, str>> {
    let header = parts.headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let mut members = header.split(|b| matches!(b, b',' | b' '));
    if let Some(credential) = members.find_map(|member| member.strip_prefix(b"Credential=")) {
        return std::str::from_utf8(credential).ok().map(Cow::Borrowed);
    }
    let query = parts.uri.query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "X-Amz-Credential").map(|(_, value)| value)
}

fn named(credential: &str) -> Identity {
    let mut parts = credential.split('/');
    let access_key = parts.next().filter(|key| !key.is_empty()).map(str::to_owned);
    let region = parts.nth(1).filter(|region| is_region(region)).map(str::to_owned);
    let account = access_key.as_deref().and_then(account_of);
    Identity { access_key, account, region, service: None, access: Access::full() }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn identity(request: http::request::Builder) -> Identity {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Anybody.identify(&parts, &Bytes::new(), Timestamp::from_millis(0)).unwrap()
    }

    #[test]
    fn an_account_is_an_access_key_of_twelve_digits_and_the_region_is_in_the_scope() {
        let header = "AWS4-HMAC-SHA256 Credential=111122223333/20261128/eu-west-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=00";
        let turned = "AWS4-HMAC-SHA256 SignedHeaders=host,Signature=00,\
                      Credential=111122223333/20261128/eu-west-1/sqs/aws4_request";
        for header in [header, turned] {
            let named = identity(Request::builder().header("authorization", header));
            assert_eq!(named.account.as_deref(), Some("111122223333"));
            assert_eq!(named.region.as_deref(), Some("eu-west-1"));
        }
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
        assert_eq!(identity(Request::builder()), named(""));
        let header = "AWS4-HMAC-SHA256 Credential=k/20261128/../sqs/aws4_request";
        assert_eq!(identity(Request::builder().header("authorization", header)).region, None);
    }
}
