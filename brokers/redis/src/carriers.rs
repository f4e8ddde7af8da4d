//! Who carries moves over while nobody waits for it: one background task for each partition that has some, so that no
//! call on a queue waits for the server of another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tidegate_core::Operation;
use tokio::task::JoinHandle;

use crate::driver::{Redis, Shared};
use crate::link::Link;
use crate::partition::Partition;

/// The pause after moves that did not arrive. It doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// All carriers that are at work, by their partitions.
#[derive(Default)]
pub(crate) struct Carriers(Mutex<State>);

#[derive(Default)]
struct State {
    at_work: HashMap<String, Carrier>,
    is_closed: bool,
}

struct Carrier {
    /// Whether there may be moves that it has not looked for.
    is_wanted: bool,
    task: JoinHandle<()>,
}

impl fmt::Debug for Carriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carriers")
    }
}

impl Redis {
    /// Has what is on its way out of a partition carried over, and again until it has arrived. The moves are written
    /// down: where this process ends before, whoever asks the partition next has them carried.
    pub(crate) fn have_carried(&self, from: &Partition) {
        let mut state = self.shared.carriers.lock();
        if state.is_closed {
            return;
        }
        let at_work = state.at_work.get_mut(&from.meta());
        if let Some(carrier) = at_work.filter(|carrier| !carrier.task.is_finished()) {
            carrier.is_wanted = true;
            return;
        }
        let carrying = carry(self.link.impatient(), Arc::downgrade(&self.shared), from.clone());
        let carrier = Carrier { is_wanted: false, task: tokio::spawn(carrying) };
        state.at_work.insert(from.meta(), carrier);
    }
}

impl Carriers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a carrier that has found nothing more may go: nobody wanted it meanwhile.
    fn may_go(&self, from: &Partition) -> bool {
        let mut state = self.lock();
        if let Some(carrier) = state.at_work.get_mut(&from.meta())
            && std::mem::take(&mut carrier.is_wanted)
        {
            return false;
        }
        state.at_work.remove(&from.meta());
        true
    }

    fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Lets no more begin. Those who pause have to be woken after it.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Waits for those who are in the middle of something, but not longer than so.
    pub(crate) async fn end(&self, patience: Duration) {
        let carriers: Vec<Carrier> = self.lock().at_work.drain().map(|(_, it)| it).collect();
        let stop: Vec<_> = carriers.iter().map(|it| it.task.abort_handle()).collect();
        let ended = join_all(carriers.into_iter().map(|it| it.task));
        let _late = tokio::time::timeout(patience, ended).await;
        stop.iter().for_each(|task| task.abort());
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        self.lock().at_work.values().for_each(|it| it.task.abort());
    }
}

/// Carries over until nothing is left.
async fn carry(link: Link, shared: Weak<Shared>, from: Partition) {
    let mut pause = PAUSE_FIRST;
    // INVARIANT: what keeps the driver is not held during a pause, so that it ends when nobody else has it.
    while let Some(shared) = shared.upgrade() {
        let redis = Redis { link: link.clone(), shared };
        let carried = redis.carry_over(&from, Operation::Settle).await;
        let closing = redis.shared.wake.listen_to_close();
        let carriers = &redis.shared.carriers;
        match carried {
            Ok(()) if carriers.may_go(&from) => return,
            Ok(()) => pause = PAUSE_FIRST,
            Err(_) if carriers.is_closed() => return,
            Err(error) => {
                tracing::warn!(%error, "tasks that go to another queue have not arrived yet");
                drop(redis);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = closing => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}
