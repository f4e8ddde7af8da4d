//! Room for answers: how many bytes of them may be made or wait to be taken at the same time.
//!
//! An answer keeps its room until its last byte has gone to the system, however slowly its client reads.
//! Who finds no room waits for a while, before anything is received for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tidegate_core::Lease;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::limits::{ANSWERS_BYTES_MAX, ANSWERS_WITHIN, MESSAGE_BYTES_MAX, SMALL_ANSWER_BYTES_MAX};

/// What a byte of a message takes until it is answered: itself, and its answer while that grows.
const TIMES: usize = 3;
/// What a message takes beside its bytes.
const BESIDE: usize = 1_024;
/// Longest answer that needs no room. WHY: what the system takes at once waits nowhere.
const FREE_BYTES_MAX: usize = 4 << 10;

/// The room there is. WHY: two kinds, so that clients who take large answers slowly are in the way of nobody
/// who asks for little.
#[derive(Debug)]
pub(crate) struct Room {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Room that is taken. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Taken {
    permit: OwnedSemaphorePermit,
}

impl Room {
    pub(crate) fn new() -> Self {
        let room = || Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        Self { small: room(), large: room() }
    }

    /// Waits for room; none if there is none in time.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Taken> {
        let (room, bytes) = self.of(bytes);
        let permit = timeout(ANSWERS_WITHIN, room.clone().acquire_many_owned(bytes)).await;
        permit.ok()?.ok().map(|permit| Taken { permit })
    }

    /// As much room as these bytes need, if there is some now or it was taken already.
    pub(crate) fn enough(&self, taken: Option<Taken>, bytes: usize) -> Option<Taken> {
        let is_enough = |taken: &Taken| taken.permit.num_permits() >= bytes.min(ANSWERS_BYTES_MAX);
        taken.filter(is_enough).or_else(|| self.try_take(bytes))
    }

    fn try_take(&self, bytes: usize) -> Option<Taken> {
        let (room, bytes) = self.of(bytes);
        room.clone().try_acquire_many_owned(bytes).ok().map(|permit| Taken { permit })
    }

    /// WHY: what would need more than there is takes all of it.
    fn of(&self, bytes: usize) -> (&Arc<Semaphore>, u32) {
        let room = if bytes <= SMALL_ANSWER_BYTES_MAX { &self.small } else { &self.large };
        (room, bytes.min(ANSWERS_BYTES_MAX) as u32)
    }

    /// An answer that keeps its room until nobody has it any more; none if there is no room for it in time.
    pub(crate) async fn keep(&self, answer: Bytes, taken: Option<Taken>) -> Option<Bytes> {
        let bytes = answer.len();
        if bytes <= FREE_BYTES_MAX {
            return Some(answer);
        }
        let taken = match taken {
            Some(mut taken) => {
                let more = taken.permit.num_permits().saturating_sub(bytes);
                drop(taken.permit.split(more));
                taken
            }
            None => self.take(bytes).await?,
        };
        Some(Bytes::from_owner(Kept { answer, _taken: taken }))
    }
}

struct Kept {
    answer: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// What receiving these takes.
pub(crate) fn bytes_of(leases: &[Lease]) -> usize {
    leases.iter().map(|lease| TIMES * lease.task.payload.len() + BESIDE).sum()
}

/// The longest message of a queue that was seen here. Until something was received, it may be any.
#[derive(Debug, Default)]
pub(crate) struct Longest(AtomicUsize);

impl Longest {
    /// These were received, if only nothing.
    pub(crate) fn see(&self, leases: &[Lease]) {
        self.see_bytes(leases.iter().map(|lease| lease.task.payload.len()).max().unwrap_or(0));
    }

    /// A message of so many bytes is there.
    pub(crate) fn see_bytes(&self, bytes: usize) {
        // WHY: one byte more, so that an empty one is told from none.
        self.0.fetch_max(bytes + 1, Ordering::Relaxed);
    }

    /// What receiving so many messages may take.
    pub(crate) fn bytes_of(&self, messages: usize) -> usize {
        let longest = match self.0.load(Ordering::Relaxed) {
            0 => MESSAGE_BYTES_MAX,
            seen => seen,
        };
        messages * (TIMES * longest + BESIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_room_until_its_last_part_is_gone() {
        let room = Room::new();
        let taken = room.take(ANSWERS_BYTES_MAX * 2).await;
        assert!(room.try_take(SMALL_ANSWER_BYTES_MAX + 1).is_none(), "all of it is taken");
        assert!(room.try_take(SMALL_ANSWER_BYTES_MAX).is_some(), "little has room of its own");
        let answer = room.keep(Bytes::from(vec![b'x'; 1 << 20]), taken).await.unwrap();
        let rest = ANSWERS_BYTES_MAX - (1 << 20);
        drop(room.try_take(rest).unwrap());
        assert!(room.try_take(rest + 1).is_none());
        let part = answer.slice(5..6);
        drop(answer);
        assert!(room.try_take(rest + 1).is_none(), "a part of it is there");
        drop(part);
        assert!(room.try_take(ANSWERS_BYTES_MAX).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_for_a_while() {
        let room = Room::new();
        let taken = room.take(ANSWERS_BYTES_MAX).await;
        let begun = tokio::time::Instant::now();
        assert!(room.take(ANSWERS_BYTES_MAX).await.is_none());
        assert!(room.keep(Bytes::from(vec![b'x'; 1 << 20]), None).await.is_none());
        assert_eq!(begun.elapsed(), 2 * ANSWERS_WITHIN);
        let (waited, ()) = tokio::join!(room.take(ANSWERS_BYTES_MAX), async { drop(taken) });
        assert!(waited.is_some());
    }

    #[test]
    fn a_queue_of_which_nothing_is_known_may_have_the_longest_messages() {
        let longest = Longest::default();
        assert!(longest.bytes_of(10) > 10 * MESSAGE_BYTES_MAX);
        longest.see(&[]);
        longest.see_bytes(100);
        assert_eq!(longest.bytes_of(10), 10 * (TIMES * 101 + BESIDE));
    }
}
