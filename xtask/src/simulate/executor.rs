//! Polls the clients' futures, one at a time, in the order the seed chooses.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use fastrand::Rng;

/// A client from its beginning to its end.
pub(crate) type Client = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The clients of one process.
#[derive(Default)]
pub(crate) struct Executor {
    slots: Mutex<Vec<Slot>>,
}

struct Slot {
    /// `None` while it is polled and when it has ended.
    client: Option<Client>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    pub(crate) fn spawn(&self, client: Client) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        self.lock().push(Slot { client: Some(client), woken });
    }

    /// Drops all clients where they are.
    pub(crate) fn clear(&self) {
        let slots = std::mem::take(&mut *self.lock());
        drop(slots);
    }

    /// Polls one client that was woken, if one was. Which, the generator says. May be called while
    /// another one is polled.
    pub(crate) fn poll_one(&self, rng: &mut Rng) -> bool {
        let Some((number, mut client, woken)) = self.take_one(rng) else { return false };
        woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(woken);
        let ended = client.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if !ended && let Some(slot) = self.lock().get_mut(number) {
            slot.client = Some(client);
        }
        true
    }

    fn take_one(&self, rng: &mut Rng) -> Option<(usize, Client, Arc<Woken>)> {
        let mut slots = self.lock();
        let ready = |slot: &Slot| slot.client.is_some() && slot.woken.0.load(Ordering::Relaxed);
        let count = slots.iter().filter(|slot| ready(slot)).count();
        if count == 0 {
            return None;
        }
        let chosen = rng.usize(0..count);
        let (number, slot) =
            slots.iter_mut().enumerate().filter(|(_, slot)| ready(slot)).nth(chosen)?;
        Some((number, slot.client.take()?, slot.woken.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
