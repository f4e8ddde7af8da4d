//! Lease tokens: version, the queue's name and life, partition, number, fence and a check sum.

use tidegate_core::routing::fnv1a_32;
use tidegate_core::{Error, ErrorKind, LeaseToken, Operation, QueueName, Result};

const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 4 + 8 + 4 + 8 + 8;

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fenced {
    /// A hash of the queue's name.
    name: u32,
    /// The queue's id: one that was deleted and made again has another.
    pub(crate) queue: u64,
    pub(crate) partition: u32,
    pub(crate) number: u64,
    pub(crate) fence: u64,
}

impl Fenced {
    pub(crate) fn new(queue: &QueueName, id: u64, partition: u32, number: u64, fence: u64) -> Self {
        Self { name: fnv1a_32(queue.as_str().as_bytes()), queue: id, partition, number, fence }
    }

    pub(crate) fn to_token(self) -> LeaseToken {
        let mut bytes = Vec::with_capacity(BODY_BYTES + 4);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.name.to_le_bytes());
        bytes.extend_from_slice(&self.queue.to_le_bytes());
        bytes.extend_from_slice(&self.partition.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.fence.to_le_bytes());
        bytes.extend_from_slice(&fnv1a_32(&bytes).to_le_bytes());
        LeaseToken::from_slice(&bytes)
    }

    /// Reads a token of a queue.
    pub(crate) fn read(token: &LeaseToken, queue: &QueueName, doing: Operation) -> Result<Self> {
        let unreadable = |why: &str| {
            let why = format!("{why}; pass it on as it was received");
            Error::new(ErrorKind::Invalid, doing, why).on(queue)
        };
        let fenced = Self::parse(token.as_bytes())
            .ok_or_else(|| unreadable("the lease token is not one of this broker's"))?;
        if fenced.name != fnv1a_32(queue.as_str().as_bytes()) {
            return Err(unreadable("the lease token belongs to another queue"));
        }
        Ok(fenced)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(BODY_BYTES)?;
        let (version, mut body_left) = body.split_first()?;
        if *version != VERSION || sum != fnv1a_32(body).to_le_bytes() {
            return None;
        }
        let mut next = |len: usize| {
            let (taken, left) = body_left.split_at_checked(len)?;
            body_left = left;
            Some(taken)
        };
        let name = u32::from_le_bytes(next(4)?.try_into().ok()?);
        let queue = u64::from_le_bytes(next(8)?.try_into().ok()?);
        let partition = u32::from_le_bytes(next(4)?.try_into().ok()?);
        let number = u64::from_le_bytes(next(8)?.try_into().ok()?);
        let fence = u64::from_le_bytes(next(8)?.try_into().ok()?);
        Some(Self { name, queue, partition, number, fence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_changed_one_is_not() {
        let queue = QueueName::new("mail").unwrap();
        let fenced = Fenced::new(&queue, 7, 3, u64::MAX, 9);
        let token = fenced.to_token();
        let read = |token: &LeaseToken| Fenced::read(token, &queue, Operation::Settle);
        assert_eq!(read(&token).unwrap(), fenced);
        for place in 0..token.as_bytes().len() {
            let mut bytes = token.as_bytes().to_vec();
            bytes[place] ^= 1;
            assert_eq!(
                read(&LeaseToken::from_bytes(bytes)).unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
        let other = QueueName::new("other").unwrap();
        let refused = Fenced::read(&token, &other, Operation::Settle).unwrap_err();
        assert!(refused.to_string().contains("another queue"), "{refused}");
    }
}
