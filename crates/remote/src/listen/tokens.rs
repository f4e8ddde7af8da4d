//! Access tokens: who sends which secret, and what that allows.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tidegate_core::{Access, Right};

/// The shortest secret, in characters. WHY: nothing slows down those who try one after the other, so a
/// secret must be longer than what can be tried.
pub const SECRET_CHARS_MIN: usize = 16;
/// Most tokens of a server: each call is compared with all of them.
pub const TOKENS_MAX: usize = 1_000;

/// The SHA-256 of a secret: what is kept in its place. Shows nothing in `Debug`.
///
/// It has no salt: it is meant for random secrets, which are in no table.
#[derive(Clone)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a secret of at least [`SECRET_CHARS_MIN`] visible ASCII characters, which is what a
    /// header can carry. The error does not show it.
    pub fn of(secret: &str) -> Result<Self, String> {
        if secret.chars().count() < SECRET_CHARS_MIN {
            return Err(format!("a secret has at least {SECRET_CHARS_MIN} characters"));
        }
        if !secret.chars().all(|c| c.is_ascii_graphic()) {
            return Err("a secret has letters, digits and signs of ASCII alone, no blanks".into());
        }
        Ok(Self::presented(secret))
    }

    /// Reads 64 hexadecimal digits. The error does not show them.
    pub fn from_hex(hex: &str) -> Result<Self, String> {
        let wrong = || "a SHA-256 has 64 hexadecimal digits".to_owned();
        let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.ok_or_else(wrong)?;
        let bytes =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit));
        let bytes: Vec<u8> = bytes.map(|byte| byte as u8).collect();
        let is_whole = digits.len() == 64;
        bytes.try_into().ok().filter(|_| is_whole).map(Self).ok_or_else(wrong)
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn presented(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Takes the same time wherever they differ.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// The tokens that a server knows. Shows names and no secrets.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone)]
struct Token {
    name: String,
    digest: Digest,
    access: Access,
}

impl Tokens {
    /// None yet: nobody is let in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token. `name` is what it is called in logs and errors: 1 to 64 characters, none of them a
    /// control character. The error says what is wrong: such a name, one that is there already, a
    /// secret that is there already, or more than [`TOKENS_MAX`].
    pub fn add(&mut self, name: &str, digest: Digest, rights: Vec<Right>) -> Result<(), String> {
        if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
            return Err("a token's name has 1 to 64 characters, and no control characters".into());
        }
        if self.0.len() == TOKENS_MAX {
            return Err(format!("there are at most {TOKENS_MAX} tokens"));
        }
        if self.0.iter().any(|token| token.name == name) {
            return Err(format!("there is a token {name:?} already; give each a name of its own"));
        }
        if let Some(same) = self.0.iter().find(|token| token.digest.is(&digest)) {
            let other = &same.name;
            return Err(format!("{name:?} has the secret of {other:?}; give each one of its own"));
        }
        let access = Access::of(name, rights);
        self.0.push(Token { name: name.to_owned(), digest, access });
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the secret that was presented allows; none if no token has it.
    pub fn check(&self, secret: &str) -> Option<Access> {
        let presented = Digest::presented(secret);
        // WHY: compared with all: the time until the answer tells nothing about which it was.
        let found =
            self.0.iter().fold(
                None,
                |found, token| {
                    if token.digest.is(&presented) { Some(token) } else { found }
                },
            );
        found.map(|token| token.access.clone())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| &token.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-secret-of-the-mailer";
    /// Of `SECRET`, by sha256sum.
    const HEX: &str = "d7a4cd72d8807b99051115a0b1b854dd81c8a2e8c48feb7bb613f7fd0ffa83bc";

    fn tokens() -> Tokens {
        let mut tokens = Tokens::new();
        tokens.add("first", Digest::of("another-secret-of-16").unwrap(), Vec::new()).unwrap();
        tokens.add("mailer", Digest::from_hex(HEX).unwrap(), Vec::new()).unwrap();
        tokens
    }

    #[test]
    fn a_secret_is_known_by_its_digest() {
        assert_eq!(Digest::of(SECRET).unwrap().to_hex(), HEX);
        let access = tokens().check(SECRET).unwrap();
        assert_eq!(access.name(), Some("mailer"));
        assert_eq!(tokens().check("another-secret-of-16").unwrap().name(), Some("first"));
    }

    #[test]
    fn what_is_not_the_whole_secret_is_none() {
        for wrong in ["", "a-secret-of-the-maile", "a-secret-of-the-mailer ", HEX] {
            assert!(tokens().check(wrong).is_none(), "{wrong:?}");
        }
        assert!(Tokens::new().check(SECRET).is_none());
    }

    #[test]
    fn weak_and_unsendable_secrets_are_refused_without_being_shown() {
        for secret in
            ["hunter2", "hunter2-hunter2\n", "hunter2 hunter2 hunter2", "hünter2-hunter2-"]
        {
            let refused = Digest::of(secret).unwrap_err();
            assert!(!refused.contains("nter2"), "{refused}");
        }
        assert!(Digest::of("0123456789abcdef").is_ok());
    }

    #[test]
    fn a_digest_is_read_whole_or_not_at_all() {
        assert_eq!(Digest::from_hex(&HEX.to_uppercase()).unwrap().to_hex(), HEX);
        for wrong in ["", "abc", &HEX[1..], &format!("{HEX}00"), &HEX.replace('a', "g")] {
            assert!(Digest::from_hex(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_and_secrets_stand_for_one_token_each() {
        let mut tokens = tokens();
        let mut add = |name: &str, secret: &str| {
            tokens.add(name, Digest::of(secret).unwrap(), Vec::new()).unwrap_err()
        };
        assert!(add("mailer", "some-other-secret").contains("a token \"mailer\" already"));
        assert!(add("second", SECRET).contains("has the secret of \"mailer\""));
        assert!(add("", "some-other-secret").contains("1 to 64"));
        assert!(add("a\nb", "some-other-secret").contains("control"));
    }

    #[test]
    fn nothing_shows_a_digest() {
        assert_eq!(format!("{:?}", tokens()), r#"["first", "mailer"]"#);
        assert_eq!(format!("{:?}", Digest::of(SECRET).unwrap()), "Digest(..)");
    }
}
