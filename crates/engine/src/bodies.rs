//! The bodies of several tasks: found under the lock, copied or read from the disk, and handed out
//! as what their tasks keep.

use std::sync::Arc;

use tidegate_core::Bytes;

use crate::log::segment::Segment;
use crate::log::{Log, record};
use crate::position::Position;

/// Bodies up to this size share one buffer, so that a batch of small tasks takes one allocation and
/// not one for each. A larger body has its own: a task that is kept for long then keeps no memory
/// of others alive that would matter.
const SHARED_BYTES_MAX: u32 = 1_024;

/// The bodies of a batch.
#[derive(Debug)]
pub(crate) struct Bodies {
    shared: Vec<u8>,
    located: Vec<Located>,
}

/// A body of the log: in memory, or where to read it.
#[derive(Debug)]
enum Located {
    Shared {
        len: u32,
    },
    Own(Vec<u8>),
    OnDisk {
        segment: Arc<Segment>,
        at: Position,
        sequence: u64,
        len: u32,
    },
    /// Its segment is not there, which only damage can lead to.
    Gone,
}

/// A body that cannot be read, or whose check sum is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damaged;

impl Bodies {
    /// For bodies of these lengths.
    pub(crate) fn for_lengths(lengths: impl ExactSizeIterator<Item = u32>) -> Self {
        let located = Vec::with_capacity(lengths.len());
        let shared = lengths.filter(|len| *len <= SHARED_BYTES_MAX).map(|len| len as usize).sum();
        Self { shared: Vec::with_capacity(shared), located }
    }

    /// Finds a body. Only under the lock.
    pub(crate) fn locate(&mut self, log: &Log, at: Position, sequence: u64, len: u32) {
        let mut own = Vec::new();
        let is_shared = len <= SHARED_BYTES_MAX;
        let to = if is_shared { &mut self.shared } else { &mut own };
        let before = to.len();
        let located = match log.read(at, len as usize, to) {
            Some(segment) => Located::OnDisk { segment, at, sequence, len },
            None if to.len() < before + len as usize => Located::Gone,
            None if is_shared => Located::Shared { len },
            None => Located::Own(own),
        };
        self.located.push(located);
    }

    /// The bodies in the order in which they were located.
    pub(crate) fn read(self) -> impl Iterator<Item = Result<Bytes, Damaged>> {
        let mut shared = Bytes::from(self.shared);
        self.located.into_iter().map(move |located| match located {
            // WHY: the last one takes the buffer as it is, so a batch of one counts no references.
            Located::Shared { len } if len as usize == shared.len() => {
                Ok(std::mem::take(&mut shared))
            }
            Located::Shared { len } => Ok(shared.split_to(len as usize)),
            Located::Own(body) => Ok(body.into()),
            Located::Gone => Err(Damaged),
            Located::OnDisk { segment, at, sequence, len } => {
                read_from_disk(&segment, at, sequence, len)
            }
        })
    }
}

fn read_from_disk(
    segment: &Segment,
    at: Position,
    sequence: u64,
    len: u32,
) -> Result<Bytes, Damaged> {
    let check = record::BODY_CHECK_BYTES as u32;
    let mut bytes = vec![0; (len + check) as usize];
    let from = u64::from(at.offset() - check);
    segment.file.read_at(&mut bytes, from).map_err(|_| Damaged)?;
    record::checked_body(sequence, len, &bytes.into()).ok_or(Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is gone takes no bytes of those behind it: a task is never handed out with another's
    /// body.
    #[test]
    fn each_task_gets_its_own_body_whatever_became_of_the_others() {
        let large = vec![9; SHARED_BYTES_MAX as usize + 1];
        let located = vec![
            Located::Shared { len: 2 },
            Located::Gone,
            Located::Own(large.clone()),
            Located::Shared { len: 3 },
        ];
        let bodies = Bodies { shared: b"abcde".to_vec(), located };
        let read: Vec<_> = bodies.read().map(Result::ok).collect();
        let expected = [Some(b"ab".to_vec()), None, Some(large), Some(b"cde".to_vec())];
        assert_eq!(read, expected.map(|body| body.map(Bytes::from)));
    }
}
