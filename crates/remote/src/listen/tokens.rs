//! Access tokens: who may come in, and what they may do.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tidegate_core::Access;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The shortest secret in characters: 96 bits of a random one in base64.
const SECRET_CHARS_MIN: usize = 16;

/// One access token: the SHA-256 of its secret, and what it may do. The secret itself is not kept.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
    access: Access,
}

impl Token {
    /// A token by its secret.
    ///
    /// # Errors
    /// What is wrong with the secret, without showing it.
    pub fn of_secret(secret: &str, access: Access) -> Result<Self, String> {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return Err(format!("a secret needs {SECRET_CHARS_MIN} characters or more"));
        }
        if !secret.chars().all(|c| c.is_ascii_graphic()) {
            return Err("a secret has only letters, digits and signs, and no spaces".into());
        }
        Ok(Self::of_digest(Sha256::digest(secret).into(), access))
    }

    /// A token by the SHA-256 of its secret.
    pub const fn of_digest(digest: [u8; 32], access: Access) -> Self {
        Self { digest, access }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.access).finish()
    }
}

/// All who may come in.
#[derive(Debug)]
pub struct Tokens(Vec<Token>);

impl Tokens {
    /// These and no others.
    pub const fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// What the caller may do who sent `metadata`.
    pub(super) fn access(&self, metadata: &MetadataMap) -> Result<Access, Status> {
        let header = metadata.get("authorization").and_then(|header| header.to_str().ok());
        let Some(secret) = header.and_then(|header| header.strip_prefix("Bearer ")) else {
            let why = "this server asks for an access token: send `authorization: Bearer TOKEN`";
            return Err(Status::unauthenticated(why));
        };
        let digest: [u8; 32] = Sha256::digest(secret).into();
        // INVARIANT: compared with all of them in the same time, so that time tells nothing.
        let mut found = None;
        for token in &self.0 {
            let is_it: Choice = token.digest.ct_eq(&digest);
            if bool::from(is_it) {
                found = Some(token.access.clone());
            }
        }
        found.ok_or_else(|| Status::unauthenticated("this access token is not one of the server's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().unwrap());
        metadata
    }

    #[test]
    fn only_a_token_that_is_known_comes_in() {
        let token = |secret, name| Token::of_secret(secret, Access::of(name, vec![])).unwrap();
        let tokens = Tokens::new(vec![
            token("first-secret-0001", "first"),
            token("second-secret-002", "second"),
        ]);
        let named = |header| tokens.access(&metadata(header)).map(|access| format!("{access:?}"));
        assert_eq!(named("Bearer second-secret-002").unwrap(), "Access(\"second\")");
        for wrong in ["Bearer second-secret-003", "Bearer ", "second-secret-002", "Basic x"] {
            assert_eq!(named(wrong).unwrap_err().code(), tonic::Code::Unauthenticated);
        }
        assert!(tokens.access(&MetadataMap::new()).is_err());
    }

    #[test]
    fn a_secret_that_is_easy_to_guess_is_refused_and_none_is_shown() {
        let refused = |secret: &str| Token::of_secret(secret, Access::full()).unwrap_err();
        assert!(refused("hunter2").contains("16 characters"));
        assert!(refused("sixteen letters and a space").contains("no spaces"));
        let token = Token::of_secret("hunter2-hunter2-hunter2", Access::full()).unwrap();
        assert!(!format!("{token:?}").contains("hunter2"));
    }
}
