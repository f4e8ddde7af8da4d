//! Who carries moves over while nobody waits for it: one background task for each partition that has some, so that no
//! call on a queue waits for the server of another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tidegate_core::{Error, ErrorKind, Operation};
use tokio::task::JoinHandle;

use crate::driver::{Redis, Shared};
use crate::link::Link;
use crate::partition::Partition;

/// The pause after moves that did not arrive. It doubles each time.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause where a retry does not help: until somebody has put right what is wrong.
const PAUSE_HOPELESS: Duration = Duration::from_secs(30);

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
        self.shared.carriers.want(from, || {
            tokio::spawn(carry(self.link.impatient(), Arc::downgrade(&self.shared), from.clone()))
        });
    }
}

impl Carriers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a partition's carrier look once more, or a new one begin.
    fn want(&self, from: &Partition, begin: impl FnOnce() -> JoinHandle<()>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        let at_work = state.at_work.get_mut(&from.meta());
        if let Some(carrier) = at_work.filter(|carrier| !carrier.task.is_finished()) {
            carrier.is_wanted = true;
            return;
        }
        state.at_work.insert(from.meta(), Carrier { is_wanted: false, task: begin() });
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
    let (mut pause, mut said) = (PAUSE_FIRST, Said::default());
    // INVARIANT: what keeps the driver is not held during a pause, so that it ends when nobody else has it.
    while let Some(shared) = shared.upgrade() {
        let redis = Redis { link: link.clone(), shared };
        let carried = redis.carry_over(&from, Operation::Settle).await;
        let closing = redis.shared.wake.listen_to_close();
        let carriers = &redis.shared.carriers;
        match carried {
            Ok(()) => {
                if said.is_news_that_they_arrived() {
                    tracing::info!(
                        from = from.meta(),
                        "tasks that go to another queue have arrived"
                    );
                }
                if carriers.may_go(&from) {
                    return;
                }
                pause = PAUSE_FIRST;
            }
            Err(_) if carriers.is_closed() => return,
            Err(error) => {
                if said.is_news(&error) {
                    log(&error, &from);
                }
                let now = if error.is_retryable() { pause } else { PAUSE_HOPELESS };
                drop(redis);
                tokio::select! {
                    () = tokio::time::sleep(now) => {}
                    () = closing => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

fn log(error: &Error, from: &Partition) {
    let from = from.meta();
    if error.is_retryable() {
        tracing::warn!(%error, from, "tasks that go to another queue have not arrived yet; they are kept and tried again");
    } else {
        let every_s = PAUSE_HOPELESS.as_secs();
        tracing::error!(
            %error, from, every_s,
            "tasks that go to another queue cannot arrive until this is put right; they are kept and tried again"
        );
    }
}

/// What was logged last of moves that did not arrive. The same is not said twice.
#[derive(Debug, Default)]
struct Said(Option<ErrorKind>);

impl Said {
    fn is_news(&mut self, error: &Error) -> bool {
        self.0.replace(error.kind()) != Some(error.kind())
    }

    /// Not where nothing was said of them before.
    fn is_news_that_they_arrived(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::QueueName;

    use super::*;

    fn partition() -> Partition {
        Partition::new("tidegate", &QueueName::new("mail").unwrap(), 0)
    }

    #[tokio::test]
    async fn a_move_that_comes_as_its_carrier_is_about_to_end_is_looked_for() {
        let (carriers, from) = (Carriers::default(), partition());
        let mut begun = 0;
        let mut want = || {
            carriers.want(&from, || {
                begun += 1;
                tokio::spawn(std::future::pending())
            });
        };
        want();
        // Its carrier has found nothing more, and only then there is another move.
        want();
        assert!(!carriers.may_go(&from), "it goes though there is another move");
        assert!(carriers.may_go(&from), "nobody wanted it again");
        want();
        assert_eq!(begun, 2, "the one that went is not at work any more");
    }

    #[tokio::test]
    async fn none_begins_once_they_are_closed() {
        let carriers = Carriers::default();
        carriers.close();
        carriers.want(&partition(), || panic!("it begins"));
    }

    #[test]
    fn why_moves_do_not_arrive_is_said_once_and_again_when_it_changes() {
        let mut said = Said::default();
        let mut news = |kind| said.is_news(&Error::new(kind, Operation::Settle, "why"));
        let (away, denied) = (ErrorKind::Unavailable, ErrorKind::Denied);
        assert_eq!(
            [away, away, denied, denied, away].map(&mut news),
            [true, false, true, false, true]
        );
        assert!(said.is_news_that_they_arrived());
        assert!(!said.is_news_that_they_arrived(), "nothing was said since");
        assert!(said.is_news(&Error::new(away, Operation::Settle, "again")));
    }
}
