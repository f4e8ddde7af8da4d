//! What the requests of a connection take until they are answered: no more is read than there is room for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Sleep, sleep};
use tonic::Status;

/// The room of a connection. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most_bytes: usize,
    part_within: Duration,
    used_bytes: AtomicUsize,
    /// Whether a call reads on though there is no room.
    is_overdrawn: AtomicBool,
    freed: Arc<Notify>,
}

/// A call's part of the room, which is given back when its last clone is dropped. Without a room, as by default,
/// there is no bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Arc<Part>);

#[derive(Debug, Default)]
struct Part {
    room: Option<Room>,
    /// Bytes of a message that has come in part.
    reading: AtomicUsize,
    unanswered: AtomicUsize,
    overdraws: AtomicBool,
}

/// What a call waits for: room, or the end of the time in which it reads on without.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    freed: Option<Pin<Box<OwnedNotified>>>,
    late: Option<Pin<Box<Sleep>>>,
}

impl Room {
    /// One of `most_bytes`.
    ///
    /// When it is full, one request at a time that has come in part is read to its end all the same, for
    /// which it has `part_within`. WHY: many parts can fill the room, and none would ever become whole.
    pub(crate) fn of(most_bytes: usize, part_within: Duration) -> Self {
        let (used_bytes, freed) = (AtomicUsize::new(0), Arc::default());
        let is_overdrawn = AtomicBool::new(false);
        Self(Arc::new(Shared { most_bytes, part_within, used_bytes, is_overdrawn, freed }))
    }

    /// A call on the connection.
    pub(crate) fn call(&self) -> Call {
        let (reading, unanswered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let overdraws = AtomicBool::new(false);
        Call(Arc::new(Part { room: Some(self.clone()), reading, unanswered, overdraws }))
    }

    fn refusal(&self) -> Status {
        let most = self.0.most_bytes;
        let why = format!("{most} bytes of this connection's requests are not answered");
        Status::resource_exhausted(why)
    }

    fn is_full(&self) -> bool {
        self.0.used_bytes.load(Ordering::SeqCst) >= self.0.most_bytes
    }

    fn take(&self, bytes: usize) {
        self.0.used_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    fn give_back(&self, bytes: usize) {
        let before = self.0.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if before >= self.0.most_bytes {
            self.0.freed.notify_waiters();
        }
    }
}

impl Call {
    /// Waits until the call may read more; `wait` is kept from one look to the next.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if a part of a message was read on without room and the rest did not come in time.
    pub(crate) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        wait: &mut Wait,
    ) -> Poll<Result<(), Status>> {
        let Some(room) = &self.0.room else { return Poll::Ready(Ok(())) };
        loop {
            if !room.is_full() {
                self.0.stop_overdrawing(room);
                *wait = Wait::default();
                return Poll::Ready(Ok(()));
            }
            if self.overdraws(room, wait) {
                let late = wait.late.as_mut().map(|late| late.as_mut().poll(cx));
                let is_late = late.is_some_and(|late| late.is_ready());
                return Poll::Ready(if is_late { Err(room.refusal()) } else { Ok(()) });
            }
            // INVARIANT: looked at again after listening, so that no room is given back unheard.
            let Some(freed) = &mut wait.freed else {
                wait.freed = Some(Box::pin(room.0.freed.clone().notified_owned()));
                continue;
            };
            ready!(freed.as_mut().poll(cx));
            wait.freed = None;
        }
    }

    /// Whether it reads on without room, which it does from now on if it has a part of a message and no other does.
    fn overdraws(&self, room: &Room, wait: &mut Wait) -> bool {
        if self.0.overdraws.load(Ordering::SeqCst) {
            return true;
        }
        let is_part = self.0.reading.load(Ordering::Relaxed) > 0;
        if !is_part || room.0.is_overdrawn.swap(true, Ordering::SeqCst) {
            return false;
        }
        self.0.overdraws.store(true, Ordering::SeqCst);
        wait.late = Some(Box::pin(sleep(room.0.part_within)));
        true
    }

    /// Bytes came.
    pub(crate) fn read(&self, bytes: usize) {
        if let Some(room) = &self.0.room {
            self.0.reading.fetch_add(bytes, Ordering::Relaxed);
            room.take(bytes);
        }
    }

    /// What came is a whole message. What came of the next one with it is less than a frame of the connection, and
    /// does not count.
    pub(super) fn whole(&self) {
        if let Some(room) = &self.0.room {
            let read = self.0.reading.swap(0, Ordering::Relaxed);
            self.0.stop_overdrawing(room);
            room.give_back(read);
        }
    }

    /// What came is all of a call that has one message: it takes its bytes until the call is over.
    pub(super) fn whole_call(&self) {
        self.begin(self.0.reading.load(Ordering::Relaxed));
        self.whole();
    }

    /// Messages that take `bytes` wait for their answers.
    pub(super) fn begin(&self, bytes: usize) {
        self.0.unanswered.fetch_add(bytes, Ordering::Relaxed);
        if let Some(room) = &self.0.room {
            room.take(bytes);
        }
    }

    /// Messages that took `bytes` are answered.
    pub(super) fn answer(&self, bytes: usize) {
        self.0.unanswered.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(room) = &self.0.room {
            room.give_back(bytes);
        }
    }

    /// What messages of the call take that are not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.0.unanswered.load(Ordering::Relaxed)
    }
}

impl Part {
    fn stop_overdrawing(&self, room: &Room) {
        let overdraws = self.overdraws.load(Ordering::SeqCst);
        if overdraws && self.overdraws.swap(false, Ordering::SeqCst) {
            room.0.is_overdrawn.store(false, Ordering::SeqCst);
            room.0.freed.notify_waiters();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            self.stop_overdrawing(&room);
            room.give_back(*self.reading.get_mut() + *self.unanswered.get_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn has_room(call: &Call) -> Result<(), Status> {
        let mut wait = Wait::default();
        poll_fn(|cx| call.poll_room(cx, &mut wait)).await
    }

    #[tokio::test]
    async fn nobody_reads_when_it_is_full_until_something_is_answered() {
        let room = Room::of(100, PATIENCE);
        let (a, b) = (room.call(), room.call());
        a.read(60);
        a.whole();
        a.begin(80);
        assert!(has_room(&b).now_or_never().is_some(), "what was read counts once");
        a.begin(20);
        let mut waits = Box::pin(has_room(&b));
        assert!(waits.as_mut().now_or_never().is_none());
        a.answer(80);
        waits.now_or_never().expect("woken").unwrap();
    }

    #[tokio::test]
    async fn a_call_gives_back_what_it_has_when_it_ends() {
        let room = Room::of(100, PATIENCE);
        let (a, b) = (room.call(), room.call());
        a.begin(60);
        a.read(40);
        let mut waits = Box::pin(has_room(&b));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(a);
        waits.now_or_never().expect("woken").unwrap();
        assert_eq!(room.0.used_bytes.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn of_parts_that_fill_it_one_is_read_to_its_end_and_then_the_next() {
        let room = Room::of(100, PATIENCE);
        let (a, b) = (room.call(), room.call());
        a.read(60);
        b.read(60);
        has_room(&a).now_or_never().expect("the first").unwrap();
        let mut waits = Box::pin(has_room(&b));
        assert!(waits.as_mut().now_or_never().is_none());
        a.read(200);
        has_room(&a).now_or_never().expect("still the first").unwrap();
        a.whole();
        a.begin(260);
        waits.now_or_never().expect("woken").unwrap();
        assert!(has_room(&a).now_or_never().is_none(), "its next message waits for room");
    }

    #[tokio::test]
    async fn whoever_was_read_on_and_ends_leaves_that_to_the_next() {
        let room = Room::of(100, PATIENCE);
        let (full, a, b) = (room.call(), room.call(), room.call());
        full.begin(100);
        a.read(1);
        b.read(1);
        has_room(&a).now_or_never().expect("the first").unwrap();
        let mut waits = Box::pin(has_room(&b));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(a);
        waits.now_or_never().expect("woken").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_part_that_is_read_on_without_room_must_come_in_time() {
        let room = Room::of(100, PATIENCE);
        let part = room.call();
        part.read(100);
        let (begun, mut wait) = (Instant::now(), Wait::default());
        poll_fn(|cx| part.poll_room(cx, &mut wait)).await.unwrap();
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        poll_fn(|cx| part.poll_room(cx, &mut wait)).await.unwrap();
        tokio::time::advance(Duration::from_millis(2)).await;
        let refused = poll_fn(|cx| part.poll_room(cx, &mut wait)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(begun.elapsed() > PATIENCE);
        drop(part);
        assert!(!room.0.is_overdrawn.load(Ordering::SeqCst));
    }
}
