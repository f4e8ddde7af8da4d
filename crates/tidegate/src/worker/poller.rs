//! Receives tasks, as many as there are free slots and never one more. It never drops a receive
//! under way: at the end it stops calling.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{
    ErrorKind, Held, Lease, LeaseToken, ReceiveOptions, Result, SessionOptions, Settled, Timestamp,
    Verdict,
};

use super::executor;
use super::metrics::add;
use super::place::Place;
use super::shutdown::Stage;
use super::{AckMode, Shared, Until};
use crate::backoff::Backoff;
use crate::context::Context;

/// How long one receive waits for a task.
const WAIT: Duration = Duration::from_secs(10);
/// The same where several queues share the slots.
const WAIT_SHARED: Duration = Duration::from_secs(1);
/// The same where there are fewer slots than queues, and the time between looks of a worker that ends
/// once its queues are empty.
const WAIT_SHORT: Duration = Duration::from_millis(50);
/// The first and the longest pause between receives that fail.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Receives from one queue until the worker stops.
pub(super) async fn poll(shared: Arc<Shared>, place: Arc<Place>, index: usize) {
    let mut poller = Poller { shared, place, index, idle: true };
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
    /// Whether the last receive came back with nothing, as if there had been one before the first.
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
            attempt_id: None,
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
            if self.shared.until == Until::Empty {
                self.end_or_look_again().await;
            }
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
            // WHY: it looks for itself, so that it sees its own last task end.
            return Duration::ZERO;
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
        let given_back = match self.place.receiver().settle(&verdicts).await {
            // WHY: the place was closed while they were on their way, so that it could not give
            // them back itself. Their tokens are good at any other place.
            Err(error) if error.kind() == ErrorKind::Closed => {
                self.settle_elsewhere(&verdicts).await
            }
            settled => settled,
        };
        match given_back {
            Ok(settled) => settled.iter().for_each(|s| self.shared.count_settled(&release, *s)),
            Err(error) => tracing::warn!(%error, "tasks come back only when their leases end"),
        }
    }

    async fn settle_elsewhere(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        let options = SessionOptions::default();
        let other = self.shared.broker.open(self.place.queue(), &options).await?;
        let settled = other.settle(verdicts).await?;
        other.close(Held::Release).await?;
        Ok(settled)
    }

    async fn pause(&self, backoff: &mut Backoff) {
        let clock = self.shared.broker.clock();
        tokio::select! {
            () = backoff.wait(clock.as_ref(), Timestamp::MAX) => {}
            () = self.shared.shutdown.reached(Stage::Draining) => {}
        }
    }

    /// Ends the worker if its queues are empty. Else waits until one of its tasks is done, or for a
    /// little while.
    async fn end_or_look_again(&self) {
        let freed = self.shared.slots.listen();
        match is_empty(&self.shared).await {
            Ok(true) => return self.shared.shutdown.begin(Stage::Draining),
            Ok(false) => {}
            Err(error) if error.is_retryable() => {}
            Err(error) => return self.shared.shutdown.fail(error),
        }
        let clock = self.shared.broker.clock();
        tokio::select! {
            () = freed => {}
            () = clock.sleep_until(clock.now().plus(WAIT_SHORT)) => {}
            () = self.shared.shutdown.reached(Stage::Draining) => {}
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
