//! The baseline: a bare group-committed log. It writes what the engine writes, reads it back, and
//! knows nothing of tasks.
//!
//! A preallocated, zero-filled file; one committer; a batch forms while the one before is being
//! synced, and one `fdatasync` is for all of it.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tidegate::Durability;

/// Bytes of the file. Large enough that what is read back was not written over.
const FILE_BYTES: u64 = 64 << 20;
/// Bytes of a frame's head, as many as the engine's has.
const HEAD_BYTES: usize = 36;
const MAGIC: u16 = 0x6754;

/// A log of frames. Dropping it stops the committer.
pub(super) struct BareLog {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

struct Shared {
    file: File,
    durability: Durability,
    state: Mutex<State>,
    /// Told when there is something to write, or nothing ever again.
    more: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// Where the first pending byte goes.
    at: u64,
    lsn: u64,
    durable_lsn: u64,
    waiters: Vec<Waker>,
    closed: bool,
    failed: Option<io::ErrorKind>,
}

/// Where the body of an appended frame lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    lsn: u64,
    at: u64,
    len: usize,
}

impl BareLog {
    /// A new log in `dir`.
    pub(super) fn create(dir: &Path, durability: Durability) -> io::Result<Self> {
        let path = dir.join("bare.log");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let shared =
            Arc::new(Shared { file, durability, state: Mutex::default(), more: Condvar::new() });
        let committing = shared.clone();
        let committer = std::thread::Builder::new()
            .name("bare-log".into())
            .spawn(move || commit(&committing))?;
        Ok(Self { shared, committer: Some(committer) })
    }

    /// Appends a frame and waits until it is as durable as the log is set to make it.
    pub(super) async fn append(&self, body: &[u8]) -> io::Result<Place> {
        let place = {
            let mut state = self.shared.lock();
            let place = state.put(body);
            match self.shared.durability {
                Durability::Always => self.shared.more.notify_one(),
                // WHY: without a sync there is nothing to share, and a hop to the committer would
                // only cost time: the baseline takes the cheapest way.
                Durability::Interval(_) | Durability::Never => self.shared.write(&mut state)?,
            }
            place
        };
        match self.shared.durability {
            Durability::Always => Durable { shared: &self.shared, lsn: place.lsn }.await?,
            Durability::Interval(_) | Durability::Never => {}
        }
        Ok(place)
    }

    /// Appends a frame that is written at once and durable with the next one, as a lease is.
    pub(super) fn append_relaxed(&self, body: &[u8]) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.put(body);
        self.shared.write(&mut state)
    }

    /// Reads a frame's body back.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut body = vec![0; place.len];
        self.shared.file.read_exact_at(&mut body, place.at)?;
        Ok(body)
    }
}

impl Drop for BareLog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_one();
        if let Some(committer) = self.committer.take() {
            // A committer that panicked has said so.
            let _ = committer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is pending, without a sync.
    fn write(&self, state: &mut State) -> io::Result<()> {
        self.file.write_all_at(&state.pending, state.at)?;
        state.at += state.pending.len() as u64;
        state.pending.clear();
        Ok(())
    }
}

impl State {
    /// Puts a frame behind what is pending. The file begins again where it ends.
    fn put(&mut self, body: &[u8]) -> Place {
        let len = HEAD_BYTES + body.len();
        if self.at + (self.pending.len() + len) as u64 > FILE_BYTES && self.pending.is_empty() {
            self.at = 0;
        }
        self.lsn += 1;
        let start = self.pending.len();
        self.pending.extend_from_slice(&MAGIC.to_le_bytes());
        self.pending.extend_from_slice(&[1, 0]);
        self.pending.extend_from_slice(&(body.len() as u32).to_le_bytes());
        self.pending.extend_from_slice(&self.lsn.to_le_bytes());
        self.pending.extend_from_slice(&self.lsn.to_le_bytes());
        self.pending.extend_from_slice(&((self.lsn - self.durable_lsn) as u32).to_le_bytes());
        self.pending.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        let head = crc32c::crc32c(self.pending.get(start..).unwrap_or_default());
        self.pending.extend_from_slice(&head.to_le_bytes());
        let at = self.at + self.pending.len() as u64;
        self.pending.extend_from_slice(body);
        Place { lsn: self.lsn, at, len: body.len() }
    }
}

/// The committer: writes what gathered, syncs it, wakes whoever waits, and begins again.
fn commit(shared: &Shared) {
    match shared.durability {
        Durability::Always => commit_always(shared),
        Durability::Interval(every) => sync_every(shared, every),
        Durability::Never => {}
    }
}

fn commit_always(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        while state.waiters.is_empty() && state.pending.is_empty() && !state.closed {
            state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return;
        }
        let written = shared.write(&mut state);
        let upto = state.lsn;
        drop(state);
        let synced = written.and_then(|()| shared.file.sync_data());
        state = shared.lock();
        match synced {
            Ok(()) => state.durable_lsn = upto,
            Err(error) => state.failed = Some(error.kind()),
        }
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        waiters.into_iter().for_each(Waker::wake);
        state = shared.lock();
    }
}

fn sync_every(shared: &Shared, every: Duration) {
    let mut state = shared.lock();
    while !state.closed {
        let (woken, _) =
            shared.more.wait_timeout(state, every).unwrap_or_else(PoisonError::into_inner);
        drop(woken);
        // A failed sync of the baseline shows in no result; the broker's own would.
        let _ = shared.file.sync_data();
        state = shared.lock();
    }
}

/// Ends once a frame is durable.
struct Durable<'a> {
    shared: &'a Shared,
    lsn: u64,
}

impl Future for Durable<'_> {
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        if let Some(kind) = state.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if state.durable_lsn >= self.lsn {
            return Poll::Ready(Ok(()));
        }
        state.waiters.push(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_appended_is_read_back_whatever_the_durability() {
        let interval = Durability::Interval(Duration::from_millis(1));
        for durability in [Durability::Always, interval, Durability::Never] {
            let dir = tempfile::tempdir().unwrap();
            let log = BareLog::create(dir.path(), durability).unwrap();
            let mut places = Vec::new();
            for n in 0..50_u8 {
                let body = vec![n; usize::from(n) + 1];
                places.push((log.append(&body).await.unwrap(), body));
                log.append_relaxed(b"lease").unwrap();
            }
            for (place, body) in places {
                assert_eq!(log.read(place).unwrap(), body);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_always_an_append_returns_only_when_it_was_synced() {
        let dir = tempfile::tempdir().unwrap();
        let log = BareLog::create(dir.path(), Durability::Always).unwrap();
        let place = log.append(b"body").await.unwrap();
        assert!(log.shared.lock().durable_lsn >= place.lsn);
    }
}
