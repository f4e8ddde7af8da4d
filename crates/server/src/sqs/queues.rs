//! The queues that are in use: what is set about each, and the way to it.
//!
//! A spec that was read is used for a second, so that a request costs no look at the broker, and what
//! another server or an administrator changes is seen soon. What is changed here is seen at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidegate_core::{
    Broker, Enqueued, ErrorKind, Holder, LeaseToken, Membership, NewTask, QueueName, QueueSpec,
    Receiver, SessionOptions, Settled, Verdict,
};

use super::account::{Namespace, QueuePath};
use super::attributes::{Attributes, Hot};
use super::errors::{Code, Failure};
use super::gather::{Gather, Outcomes};
use super::room::Longest;

/// How long a spec that was read is used.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How often an update is tried that others got before.
const UPDATES_MAX: usize = 32;

/// All queues in use.
#[derive(Debug)]
pub(crate) struct Queues {
    broker: Broker,
    own: Namespace,
    in_flight_max: u64,
    known: RwLock<HashMap<QueueName, Arc<Queue>>>,
}

/// A queue in use, as it was when it was last read.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) path: QueuePath,
    pub(crate) name: QueueName,
    pub(crate) attributes: Attributes,
    pub(crate) hot: Hot,
    pub(crate) place: Arc<Place>,
    /// When it was read, in milliseconds.
    read_at: AtomicU64,
}

/// The way to a queue.
#[derive(Debug)]
pub(crate) struct Place {
    broker: Broker,
    pub(crate) receiver: Receiver,
    sends: Arc<Gather<NewTask, Result<Enqueued, Failure>>>,
    settles: Arc<Gather<(LeaseToken, Verdict), Settled>>,
    flight: Flight,
    pub(crate) longest: Longest,
}

/// About how many messages are in receivers' hands: what the broker said last, and what was handed out
/// here since.
#[derive(Debug)]
struct Flight {
    most: u64,
    known: AtomicU64,
    since: AtomicU64,
}

impl Queues {
    pub(crate) fn new(broker: Broker, own: Namespace, in_flight_max: u64) -> Self {
        Self { broker, own, in_flight_max, known: RwLock::default() }
    }

    /// The queue, as it is or was within the last second.
    pub(crate) async fn get(&self, path: &QueuePath) -> Result<Arc<Queue>, Failure> {
        let name = path.in_broker(&self.own)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let now = self.broker.clock().now().as_millis();
        match known {
            Some(queue) if !queue.take_to_read_again(now) => Ok(queue),
            _ => self.read(path, &name).await,
        }
    }

    /// A queue of the own namespace, if nothing about it needs to be read. WHY: it is what nearly every
    /// request asks for, and here it is found by its name as it stands in the request.
    pub(crate) fn at_hand(&self, account: &str, region: &str, name: &str) -> Option<Arc<Queue>> {
        let Namespace { account: own, region: own_region } = &self.own;
        if (account, region) != (own, own_region) {
            return None;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let queue = known.get(name).cloned()?;
        let now = self.broker.clock().now().as_millis();
        (!queue.is_old(now)).then_some(queue)
    }

    /// The queue as it is now.
    pub(crate) async fn read(
        &self,
        path: &QueuePath,
        name: &QueueName,
    ) -> Result<Arc<Queue>, Failure> {
        let spec = self.broker.inspect()?.spec(name).await;
        let spec = spec.inspect_err(|error| {
            if error.kind() == ErrorKind::NotFound {
                self.forget(name);
            }
        })?;
        self.keep(path, spec).await
    }

    async fn keep(&self, path: &QueuePath, spec: QueueSpec) -> Result<Arc<Queue>, Failure> {
        let name = spec.name.clone();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let attributes = Attributes::of(spec, &self.own);
        // WHY: a queue that was made anew under its name is another one.
        let is_same = |known: &Arc<Queue>| {
            known.attributes.get("CreatedTimestamp") == attributes.get("CreatedTimestamp")
                && known.hot.is_fifo == attributes.is_fifo()
        };
        let known = known.filter(is_same);
        // WHY: what was read before a change and comes back after it must not take its place.
        if let Some(newer) = known.as_ref().filter(|it| it.revision() > attributes.spec().revision)
        {
            return Ok(newer.clone());
        }
        let place = match known {
            Some(known) => known.place.clone(),
            None => Arc::new(self.open(&name).await?),
        };
        let read_at = AtomicU64::new(self.broker.clock().now().as_millis());
        let hot = attributes.hot();
        let queue =
            Queue { path: path.clone(), name: name.clone(), attributes, hot, place, read_at };
        let queue = Arc::new(queue);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(name, queue.clone());
        Ok(queue)
    }

    async fn open(&self, name: &QueueName) -> Result<Place, Failure> {
        let options = SessionOptions { membership: Membership::Shared, holder: Holder::Client };
        let receiver = self.broker.open(name, &options).await?;
        let most = self.broker.capabilities().batch_max;
        Ok(Place {
            broker: self.broker.clone(),
            receiver,
            sends: Gather::new(most),
            settles: Gather::new(most),
            // WHY: of a queue that nothing is known about the first one to ask is told by the broker.
            flight: Flight {
                most: self.in_flight_max,
                known: 0.into(),
                since: self.in_flight_max.into(),
            },
            longest: Longest::default(),
        })
    }

    /// Forgets a queue that is gone.
    pub(crate) fn forget(&self, name: &QueueName) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// What an answer of the broker is. A queue that is gone is forgotten.
    pub(crate) fn seen<T>(
        &self,
        name: &QueueName,
        answer: Result<T, Failure>,
    ) -> Result<T, Failure> {
        if answer.as_ref().is_err_and(|failure| failure.code == Code::QueueDoesNotExist) {
            self.forget(name);
        }
        answer
    }

    /// Changes what is set about a queue. `change` is asked again where another was faster, and says
    /// what the answer is.
    pub(crate) async fn update<T>(
        &self,
        path: &QueuePath,
        mut change: impl FnMut(&mut Attributes) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let name = path.in_broker(&self.own)?;
        for _ in 0..UPDATES_MAX {
            let spec = self.broker.inspect()?.spec(&name).await?;
            let revision = spec.revision;
            let mut attributes = Attributes::of(spec, &self.own);
            let answer = change(&mut attributes)?;
            match self.broker.update(attributes.spec()).await {
                Ok(spec) => {
                    self.keep(path, spec).await?;
                    return Ok(answer);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let now = self.broker.inspect()?.spec(&name).await?;
                    if now.revision == revision {
                        return Err(
                            Code::InvalidParameterValue.because(format!("Failed to {error}."))
                        );
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Code::ServiceUnavailable.because("Others change this queue all the time; try again."))
    }

    /// All queues of the protocol, of every namespace, in the order of their names in the broker.
    pub(crate) async fn all(&self) -> Result<Vec<(QueuePath, QueueName)>, Failure> {
        let names = self.broker.inspect()?.queues().await?;
        let of = |name: QueueName| Some((QueuePath::from_broker(&name, &self.own)?, name));
        Ok(names.into_iter().filter_map(of).collect())
    }

    /// The queues whose dead-letter queue is `target`, or was set to be it.
    pub(crate) async fn sources(
        &self,
        target: &QueuePath,
    ) -> Result<Vec<(QueuePath, Attributes)>, Failure> {
        let mut sources = Vec::new();
        for (path, name) in self.all().await? {
            let spec = match self.broker.inspect()?.spec(&name).await {
                Ok(spec) => spec,
                // Deleted since.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let attributes = Attributes::of(spec, &self.own);
            if attributes.redrive().is_some_and(|policy| policy.target == *target) {
                sources.push((path, attributes));
            }
        }
        Ok(sources)
    }
}

impl Queue {
    fn revision(&self) -> u64 {
        self.attributes.spec().revision
    }

    /// Whether it is time to read it again. One caller is told so, the others use it as it is.
    fn take_to_read_again(&self, now: u64) -> bool {
        let read_at = self.read_at.load(Ordering::Relaxed);
        is_old(read_at, now)
            && self
                .read_at
                .compare_exchange(read_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn is_old(&self, now: u64) -> bool {
        is_old(self.read_at.load(Ordering::Relaxed), now)
    }
}

/// Whether what was read then is not used any more.
fn is_old(read_at: u64, now: u64) -> bool {
    now.saturating_sub(read_at) >= FRESH_FOR.as_millis() as u64
}

impl Place {
    /// Enqueues tasks, together with those of others. One outcome each.
    pub(crate) async fn enqueue(&self, tasks: Vec<NewTask>) -> Outcomes<Result<Enqueued, Failure>> {
        tasks.iter().for_each(|task| self.longest.see_bytes(task.payload.len()));
        let (broker, name) = (self.broker.clone(), self.receiver.queue().clone());
        let run = move |tasks: Vec<NewTask>| {
            let (broker, name) = (broker.clone(), name.clone());
            async move {
                let outcomes = broker.enqueue(&name, &tasks).await?;
                Ok(outcomes.into_iter().map(|outcome| outcome.map_err(Failure::from)).collect())
            }
        };
        self.sends.submit(tasks, run).await
    }

    /// Settles leases, together with those of others. One outcome each.
    pub(crate) async fn settle(&self, verdicts: Vec<(LeaseToken, Verdict)>) -> Outcomes<Settled> {
        let receiver = self.receiver.clone();
        let run = move |verdicts: Vec<(LeaseToken, Verdict)>| {
            let receiver = receiver.clone();
            async move { settle(&receiver, &verdicts).await }
        };
        self.settles.submit(verdicts, run).await
    }

    /// Whether as many are in receivers' hands as may be. The broker is asked only where it may be so.
    pub(crate) async fn is_full(&self) -> Result<bool, Failure> {
        let Flight { most, known, since } = &self.flight;
        if known.load(Ordering::Relaxed) + since.load(Ordering::Relaxed) < *most {
            return Ok(false);
        }
        since.store(0, Ordering::Relaxed);
        let stats = self.broker.inspect()?.stats(self.receiver.queue()).await?;
        known.store(stats.leased, Ordering::Relaxed);
        Ok(stats.leased >= *most)
    }

    pub(crate) fn handed_out(&self, count: usize) {
        self.flight.since.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// WHY: a token that cannot be read fails all that are settled with it. Then each is settled alone, so
/// that nobody's mistake is another's.
async fn settle(receiver: &Receiver, verdicts: &[(LeaseToken, Verdict)]) -> Outcomes<Settled> {
    match receiver.settle(verdicts).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            let mut outcomes = Vec::with_capacity(verdicts.len());
            for (token, verdict) in verdicts {
                let settled = receiver.settle_one(token, verdict.clone()).await;
                outcomes.push(match settled {
                    Err(error) if error.kind() == ErrorKind::Invalid => NOT_FOUND,
                    settled => settled?,
                });
            }
            Ok(outcomes)
        }
        outcomes => Ok(outcomes?),
    }
}

/// A token that the broker cannot read is of a queue that is no longer there.
const NOT_FOUND: Settled = Settled::Lost(tidegate_core::Lost::NotFound);
