//! Lease tokens: version, queue, sequence, fence and a check sum.

use tidegate_core::LeaseToken;
use tidegate_core::routing::fnv1a_32;

/// Apart from the first byte of other brokers' tokens, so that none is taken for one of these.
const VERSION: u8 = 0x51;
const BODY_BYTES: usize = 25;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fenced {
    pub(crate) queue: i64,
    pub(crate) sequence: i64,
    pub(crate) fence: i64,
}

impl Fenced {
    pub(crate) fn to_token(self) -> LeaseToken {
        let mut bytes = Vec::with_capacity(BODY_BYTES + 4);
        bytes.push(VERSION);
        for number in [self.queue, self.sequence, self.fence] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&fnv1a_32(&bytes).to_le_bytes());
        LeaseToken::from_slice(&bytes)
    }

    /// Reads a token; `None` if no such broker issued it.
    pub(crate) fn from_token(token: &LeaseToken) -> Option<Self> {
        let (body, sum) = token.as_bytes().split_at_checked(BODY_BYTES)?;
        let (version, numbers) = body.split_first()?;
        if *version != VERSION || sum != fnv1a_32(body).to_le_bytes() {
            return None;
        }
        let mut numbers = numbers.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
        let mut next = || numbers.next().map(i64::from_le_bytes);
        Some(Self { queue: next()?, sequence: next()?, fence: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_changed_one_is_not() {
        let fenced = Fenced { queue: 1, sequence: i64::MAX, fence: 3 };
        let token = fenced.to_token();
        assert_eq!(Fenced::from_token(&token), Some(fenced));
        for place in 0..token.as_bytes().len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[place] ^= 1;
            assert_eq!(Fenced::from_token(&LeaseToken::from_bytes(bytes)), None);
        }
        assert_eq!(Fenced::from_token(&LeaseToken::from_bytes(&b"garbage"[..])), None);
    }
}
