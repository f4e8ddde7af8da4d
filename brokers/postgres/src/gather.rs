//! How small calls go together: how many are under way, and when nobody waits for one any longer.

use std::time::Duration;

use tidegate_core::gather::{Room, Size};

use crate::batch::BYTES_MAX;
use crate::driver::Postgres;

/// Two calls: one that the server works on, and one whose answer is on its way. With more than 128 things together each
/// costs hardly less.
pub(crate) const ROOM: Room = Room {
    calls: 2,
    calls_of_many: 2,
    many: usize::MAX,
    together: Size { things: 128, bytes: BYTES_MAX },
};
/// How long a call counts as under way. One that takes longer may wait for a connection that is lost.
const PATIENCE: Duration = Duration::from_millis(100);
/// Things, and bytes of payloads, of a call that is small. Others go by themselves, as many as there are.
const SMALL: usize = 64;
const SMALL_BYTES: usize = 256 << 10;

const _: () = assert!(ROOM.together.things * SMALL_BYTES <= BYTES_MAX);

/// Whether a call of so many things with payloads of so many bytes is better made with others.
pub(crate) fn is_small(count: usize, bytes: usize) -> bool {
    count <= SMALL && bytes <= SMALL_BYTES
}

/// So many things. WHY: without their bytes, for small calls never have too many of them together.
pub(crate) fn things(count: usize) -> Size {
    Size { things: count, bytes: 0 }
}

/// Ends when a call does not count as under way any more.
pub(crate) async fn patience() {
    tokio::time::sleep(PATIENCE).await;
}

impl Postgres {
    /// Runs a call that is for several callers, on the runtime of `connect`.
    pub(crate) fn spawn_gathered(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.runtime.spawn(async move {
            // WHY: those who are ready to run come first, and what they want goes together.
            tokio::task::yield_now().await;
            work.await;
        });
    }
}
