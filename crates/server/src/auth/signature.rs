//! Signing, and comparing signatures.

use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::claim::{ALGORITHM, Scope, TERMINATOR};
use super::keys::Secret;

/// The SHA-256 of `bytes`, in hexadecimal digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether `signature` is that of `canonical_request` with this secret. Takes the same time wherever they
/// differ.
pub(super) fn is_of(
    signature: &str,
    secret: &Secret,
    scope: &Scope,
    date: &str,
    canonical_request: &[u8],
) -> bool {
    let right = sign(secret, scope, date, canonical_request);
    signature.as_bytes().ct_eq(right.as_bytes()).into()
}

pub(super) fn sign(secret: &Secret, scope: &Scope, date: &str, canonical_request: &[u8]) -> String {
    let text = string_to_sign(scope, date, canonical_request);
    let Scope { day, region, service } = scope;
    let key = secret.signing().as_bytes().to_vec();
    let steps = [day, region, service, TERMINATOR, &text];
    hex(&steps.iter().fold(key, |key, step| hmac(&key, step.as_bytes())))
}

pub(super) fn string_to_sign(scope: &Scope, date: &str, canonical_request: &[u8]) -> String {
    let (Scope { day, region, service }, hash) = (scope, hash(canonical_request));
    format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/{TERMINATOR}\n{hash}")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length is one.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text));
    mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
