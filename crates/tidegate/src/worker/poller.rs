//! Receives tasks, as many as there are free slots and never one more. It never drops a receive
//! under way: at the end it stops calling.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{ErrorKind, Lease, ReceiveOptions, Result, Timestamp, Verdict};

use super::executor;
use super::metrics::add;
use super::place::Place;
use super::settler::settle_until;
use super::shutdown::Stage;
use super::{AckMode, Shared, Until};
use crate::backoff::Backoff;
use crate::context::Context;

/// How long one receive waits for a task.
const WAIT: Duration = Duration::from_secs(10);
/// The same where several queues share the slots.
const WAIT_SHARED: Duration = Duration::from_secs(1);
/// The same where there are fewer slots than queues, or the worker ends once all are empty.
const WAIT_SHORT: Duration = Duration::from_millis(50);
/// The first and the longest pause between receives that fail.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Receives from one queue until the worker stops.
pub(super) async fn poll(shared: Arc<Shared>, place: Arc<Place>, index: usize) {
    let mut poller = Poller { shared, place, index, idle: false };
    let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
    while let Some(credit) = poller.credit().await {
        let received = poller.receive(credit).await;
        match received {
            Ok(()) => backoff = Backoff::new(PAUSE.0, PAUSE.1),
            Err(_) if poller.stops() => return,
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "nothing can be received now");
                poller.pause(&mut backoff).await;
            }
            Err(error) => return poller.shared.shutdown.fail(error),
        }
    }
}

struct Poller {
    shared: Arc<Shared>,
    place: Arc<Place>,
    index: usize,
    /// Whether the last receive came back with nothing.
    idle: bool,
}

impl Poller {
    fn stops(&self) -> bool {
        self.shared.shutdown.is_at(Stage::Draining)
    }

    /// Free slots set aside for the next receive, as soon as there are any; nothing once the worker
    /// stops.
    async fn credit(&self) -> Option<usize> {
        // WHY: a queue that was empty asks for one slot only, so that it does not hold those that
        // a busy queue beside it could fill.
        let most = match self.idle && self.shared.places.len() > 1 {
            true => 1,
            false => self.shared.broker.capabilities().batch_max,
        };
        loop {
            let freed = self.shared.slots.listen();
            if self.stops() {
                return None;
            }
            match self.shared.slots.reserve(most) {
                0 => tokio::select! {
                    () = freed => {}
                    () = self.shared.shutdown.reached(Stage::Draining) => return None,
                },
                credit => return Some(credit),
            }
        }
    }

    async fn receive(&mut self, credit: usize) -> Result<()> {
        let options = ReceiveOptions {
            limit: credit,
            wait: self.wait(),
            lease: self.shared.options.lease,
            per_key: 1,
        };
        let asked = self.shared.broker.clock().now();
        let leases = match self.place.receiver().receive(&options).await {
            Ok(leases) => leases,
            Err(error) => {
                self.shared.slots.unreserve(credit);
                return Err(error);
            }
        };
        self.idle = leases.is_empty();
        if leases.is_empty() {
            self.shared.slots.unreserve(credit);
            self.end_if_empty().await;
        } else if self.stops() {
            self.shared.slots.unreserve(credit);
            self.give_back(&leases).await;
        } else {
            self.start(leases, credit, asked).await;
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        let queues = self.shared.places.len();
        if self.shared.until == Until::Empty {
            // WHY: the first look finds out at once that there is nothing more to do.
            return if self.idle { WAIT_SHORT } else { Duration::ZERO };
        }
        match queues {
            1 => WAIT,
            _ if queues > self.shared.options.concurrency => WAIT_SHORT,
            _ => WAIT_SHARED,
        }
    }

    async fn start(&self, leases: Vec<Lease>, credit: usize, asked: Timestamp) {
        let answered = self.shared.broker.clock().now();
        let received = leases.len();
        add(&self.shared.counters.received, received);
        let context = |lease: Lease| {
            let granted = granted(&lease, asked, answered);
            Context::new(lease, self.place.home.clone(), granted)
        };
        let contexts: Vec<Context> = leases.into_iter().map(context).collect();
        let settled = self.shared.options.ack == AckMode::Auto;
        let (slots, sooner) = self.shared.slots.fill(&contexts, self.index, settled);
        if sooner {
            self.shared.pulse.notify(usize::MAX);
        }
        if credit > received {
            self.shared.slots.unreserve(credit - received);
        }
        executor::start(&self.shared, &self.place, contexts, slots).await;
        // WHY: handlers that never wait must not keep the settler from its turn.
        tokio::task::yield_now().await;
    }

    /// Gives back what arrived after the worker stopped.
    async fn give_back(&self, leases: &[Lease]) {
        let release = Verdict::Release { after: Duration::ZERO };
        let verdicts: Vec<_> =
            leases.iter().map(|lease| (lease.token.clone(), release.clone())).collect();
        let until = self.shared.broker.clock().now().plus(self.shared.options.cancel_grace);
        for answer in settle_until(&self.shared, &self.place, &verdicts, until).await {
            match answer {
                Ok(settled) => self.shared.count_settled(&release, settled),
                // WHY: the place was closed meanwhile, which gave them back already.
                Err(error) if error.kind() == ErrorKind::Closed => {}
                Err(error) => tracing::warn!(%error, "a task could not be given back"),
            }
        }
    }

    async fn pause(&self, backoff: &mut Backoff) {
        let clock = self.shared.broker.clock();
        tokio::select! {
            () = backoff.wait(clock.as_ref(), Timestamp::MAX) => {}
            () = self.shared.shutdown.reached(Stage::Draining) => {}
        }
    }

    /// Where the worker is to end once its queues are empty: ends it if they are.
    async fn end_if_empty(&self) {
        if self.shared.until != Until::Empty {
            return;
        }
        match is_empty(&self.shared).await {
            Ok(true) => self.shared.shutdown.begin(Stage::Draining),
            Ok(false) => {}
            Err(error) if error.is_retryable() => {}
            Err(error) => self.shared.shutdown.fail(error),
        }
    }
}

/// Whether nothing is ready, scheduled or leased in any of the worker's queues.
///
/// A follow-up may move from a queue yet to be looked at into one that was looked at, but only while
/// this worker holds a task; so a look during which it held one does not count.
async fn is_empty(shared: &Shared) -> Result<bool> {
    let before = shared.slots.busy();
    for place in &shared.places {
        if shared.broker.inspect()?.stats(place.queue()).await?.live() > 0 {
            return Ok(false);
        }
    }
    Ok(before.0 == 0 && before == shared.slots.busy())
}

/// When a lease was handed out, by the clock of this process: the broker's word for it, held between
/// the moments when it was asked for and answered, so that a broker's clock that is wrong cannot
/// make a lease look longer than it is.
fn granted(lease: &Lease, asked: Timestamp, answered: Timestamp) -> Timestamp {
    let length = u64::try_from(lease.duration.as_millis()).unwrap_or(u64::MAX);
    within(lease.until.as_millis().saturating_sub(length), asked, answered)
}

fn within(told: u64, asked: Timestamp, answered: Timestamp) -> Timestamp {
    Timestamp::from_millis(told).clamp(asked, answered.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_starts_between_question_and_answer_whatever_the_brokers_clock_says() {
        let at = Timestamp::from_millis;
        assert_eq!(within(2_000, at(1_000), at(3_000)), at(2_000));
        assert_eq!(within(7, at(1_000), at(3_000)), at(1_000));
        assert_eq!(within(u64::MAX, at(1_000), at(3_000)), at(3_000));
        assert_eq!(within(5, at(9), at(8)), at(9));
    }
}
