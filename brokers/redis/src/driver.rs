//! The driver's face of a server.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Memory};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use redis::{Cmd, Value};
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Capacity, Driver, Enqueued, Error, ErrorKind, Membership,
    NewTask, Operation, Ordering, QueueName, QueueSpec, Result, Session, SessionOptions,
    SystemClock, TaskId,
};
use tokio::runtime::Handle;

use crate::capabilities::capabilities;
use crate::carriers::Carriers;
use crate::config::Config;
use crate::gather::{self, How, Lanes, Wanted};
use crate::link::Link;
use crate::partition::Partition;
use crate::reply::{Parts, Told, strange};
use crate::script;
use crate::session::RedisSession;
use crate::wake::Wake;
use crate::{envelope, group};

/// A server with queues on it.
#[derive(Clone)]
pub(crate) struct Redis {
    pub(crate) link: Link,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    capabilities: Capabilities,
    pub(crate) wake: Wake,
    pub(crate) lanes: Lanes,
    pub(crate) runtime: Handle,
    pub(crate) carriers: Carriers,
    /// Queues as last seen. What is read of them does not change, or is the script's own to check.
    known: RwLock<HashMap<QueueName, Arc<QueueSpec>>>,
    turns: AtomicU64,
    closed: AtomicBool,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.link).finish()
    }
}

/// Connects to a server. What calls of several callers have in common is done on the runtime that this was called on.
///
/// # Errors
/// `Unavailable` if it does not answer, `Denied` if it refuses the user, `Invalid` if the configuration makes no
/// sense.
pub async fn connect(config: Config) -> Result<Broker> {
    let label = config.label();
    let link = Link::open(&config).await?;
    let shared = Shared {
        capabilities: capabilities(),
        wake: Wake::new(config.clone()),
        config,
        lanes: Lanes::default(),
        runtime: Handle::current(),
        carriers: Carriers::default(),
        known: RwLock::default(),
        turns: AtomicU64::new(fastrand::u64(..1 << 32)),
        closed: AtomicBool::new(false),
    };
    let redis = Arc::new(Redis { link, shared: Arc::new(shared) });
    Ok(Broker::new(BrokerParts {
        label,
        driver: redis.clone(),
        inspect: Some(redis.clone()),
        admin: Some(redis.clone()),
        atomic: Some(redis),
        clock: Arc::new(SystemClock::new()),
    }))
}

impl Redis {
    pub(crate) fn open_still(&self, doing: Operation) -> Result<()> {
        if self.shared.closed.load(Memory::Acquire) {
            let why = "the broker was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).about("a closed broker"));
        }
        Ok(())
    }

    /// The same, of which a call asks a cluster that is changing only once.
    pub(crate) fn impatient(&self) -> Self {
        Self { link: self.link.impatient(), shared: self.shared.clone() }
    }

    pub(crate) fn partition(&self, queue: &QueueName, index: u32) -> Partition {
        Partition::new(&self.shared.config.prefix, queue, index)
    }

    pub(crate) fn partitions(&self, queue: &QueueName, spec: &QueueSpec) -> Vec<Partition> {
        (0..spec.partitions.get()).map(|index| self.partition(queue, index)).collect()
    }

    /// A number that decides for tasks without a key.
    pub(crate) fn turn(&self) -> u64 {
        self.shared.turns.fetch_add(1, Memory::Relaxed)
    }

    /// The set with the names of all queues.
    pub(crate) fn registry(&self) -> String {
        format!("{}:queues", self.shared.config.prefix)
    }

    /// A queue as the server knows it; `None` if there is no such queue.
    pub(crate) async fn find(
        &self,
        queue: &QueueName,
        doing: Operation,
    ) -> Result<Option<Arc<QueueSpec>>> {
        let meta = self.partition(queue, 0).meta();
        let Some(spec) = self.link.hget(&meta, "spec", doing).await? else {
            self.forget(queue);
            return Ok(None);
        };
        self.remember(&spec, doing).map(Some)
    }

    /// A queue that has to be there, as last seen.
    pub(crate) async fn known(
        &self,
        queue: &QueueName,
        doing: Operation,
    ) -> Result<Arc<QueueSpec>> {
        let known =
            self.shared.known.read().unwrap_or_else(PoisonError::into_inner).get(queue).cloned();
        match known {
            Some(known) => Ok(known),
            None => self.seen(queue, doing).await,
        }
    }

    /// A queue that has to be there, as the server knows it.
    pub(crate) async fn seen(&self, queue: &QueueName, doing: Operation) -> Result<Arc<QueueSpec>> {
        self.find(queue, doing).await?.ok_or_else(|| missing(queue, doing))
    }

    pub(crate) fn forget(&self, queue: &QueueName) {
        self.shared.known.write().unwrap_or_else(PoisonError::into_inner).remove(queue);
    }

    fn remember(&self, spec: &str, doing: Operation) -> Result<Arc<QueueSpec>> {
        let spec: QueueSpec = serde_json::from_str(spec).map_err(|_| strange(doing))?;
        let name = spec.name.clone();
        let spec = Arc::new(spec);
        let mut all = self.shared.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, spec.clone());
        Ok(spec)
    }

    /// Runs a script that changes tasks. What it sent away is carried over by somebody else: no call waits for another
    /// queue's server.
    pub(crate) async fn change(
        &self,
        script: &script::Script,
        partition: &Partition,
        doing: Operation,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<Value> {
        let told = self.link.run(script, partition, doing, arguments).await?;
        let Told { moves, answer } = Told::of(told, doing)?;
        if moves > 0 {
            self.have_carried(partition);
        }
        Ok(answer)
    }

    /// The same, after which what was sent away has arrived, unless where it goes is away.
    pub(crate) async fn change_and_carry(
        &self,
        script: &script::Script,
        partition: &Partition,
        doing: Operation,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<Value> {
        let told = self.link.run(script, partition, doing, arguments).await?;
        let Told { moves, answer } = Told::of(told, doing)?;
        if moves > 0 {
            match self.impatient().carry_over(partition, doing).await {
                // WHY: the call is done, and the moves are written down.
                Err(error) if error.is_retryable() => self.have_carried(partition),
                carried => carried?,
            }
        }
        Ok(answer)
    }

    /// Makes a queue where it is missing. Returns what is there.
    pub(crate) async fn make(&self, spec: &QueueSpec, doing: Operation) -> Result<Arc<QueueSpec>> {
        let text = serde_json::to_string(spec).map_err(|_| strange(doing))?;
        // WHY: exact in the scripts' numbers, which are floating.
        let id = fastrand::u64(1..1 << 52).to_string();
        self.link.command::<i64>(&["SADD", &self.registry(), spec.name.as_str()], doing).await?;
        let mut first = None;
        for partition in self.partitions(&spec.name, spec) {
            // INVARIANT: all partitions have the id of the first one.
            let id = first
                .as_ref()
                .map_or(id.as_str(), |(_, id): &(String, String)| id.as_str())
                .to_owned();
            let settings = settings(spec, partition.index);
            let declare = |call: &mut Cmd| {
                call.arg("id").arg(&id).arg("spec").arg(&text).arg("revision").arg(spec.revision);
                settings.iter().for_each(|(name, value)| {
                    call.arg(*name).arg(value);
                });
            };
            let there = self.link.run(&script::DECLARE, &partition, doing, declare).await?;
            let mut there = Parts::of(there, doing)?;
            let there = (there.text()?, there.text()?);
            first.get_or_insert(there);
        }
        let (spec, _) = first.ok_or_else(|| strange(doing))?;
        self.remember(&spec, doing)
    }

    /// Makes the dead-letter queue that a spec names, where it is missing.
    pub(crate) async fn make_dead_letter_queue(
        &self,
        spec: &QueueSpec,
        doing: Operation,
    ) -> Result<()> {
        let Some(name) = &spec.dead_letters.queue else { return Ok(()) };
        let refused = |why: String| Err(Error::new(ErrorKind::Conflict, doing, why).on(&spec.name));
        match self.find(name, doing).await? {
            Some(target) if target.dead_letters.queue.is_some() => {
                return refused(format!(
                    "{name:?} has a dead-letter queue itself and can't be one"
                ));
            }
            Some(_) => {}
            None => {
                self.make(&QueueSpec::dead_letter_queue(name.clone(), &spec.dead_letters), doing)
                    .await?;
            }
        }
        match self.user_of(&spec.name, doing).await? {
            Some(_) => refused(
                "it is the dead-letter queue of another queue and can't name one itself".into(),
            ),
            None => Ok(()),
        }
    }

    /// A queue whose dead letters go to `queue`.
    pub(crate) async fn user_of(
        &self,
        queue: &QueueName,
        doing: Operation,
    ) -> Result<Option<QueueName>> {
        for name in self.names(doing).await? {
            if let Some(other) = self.find(&name, doing).await?
                && other.dead_letters.queue.as_ref() == Some(queue)
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The names in the registry, sorted. A queue whose making or deletion was cut short may be missing.
    pub(crate) async fn names(&self, doing: Operation) -> Result<Vec<QueueName>> {
        let names: Vec<String> = self.link.command(&["SMEMBERS", &self.registry()], doing).await?;
        let mut names: Vec<QueueName> =
            names.into_iter().filter_map(|name| QueueName::new(name).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The sender's own bound, as scripts take it.
    pub(crate) fn own_bound(&self) -> i64 {
        self.shared.config.stream_max_len.map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX))
    }
}

/// What a partition's scripts read of a spec.
pub(crate) fn settings(spec: &QueueSpec, partition: u32) -> Vec<(&'static str, String)> {
    let partitions = u64::from(spec.partitions.get());
    let capacity = match spec.capacity {
        Capacity::Unbounded => -1,
        // WHY: the parts of all partitions together are the whole.
        Capacity::Bounded(most) => {
            (most / partitions + u64::from(u64::from(partition) < most % partitions)) as i64
        }
    };
    let retention = spec.retention.map_or(-1, |retention| retention.as_micros() as i64);
    let dlq = spec.dead_letters.queue.as_ref().map(|queue| queue.as_str().to_owned());
    vec![
        ("name", spec.name.as_str().to_owned()),
        ("capacity", capacity.to_string()),
        ("lease_us", spec.lease.as_micros().to_string()),
        ("attempts", spec.retry.max_attempts.to_string()),
        ("ordered", u8::from(spec.ordering == Ordering::Key).to_string()),
        ("retention_us", retention.to_string()),
        ("dead_retention_us", spec.dead_letters.retention.as_micros().to_string()),
        ("dlq", dlq.unwrap_or_default()),
    ]
}

pub(crate) fn missing(queue: &QueueName, doing: Operation) -> Error {
    Error::new(ErrorKind::NotFound, doing, "there is no such queue; declare it first").on(queue)
}

pub(crate) fn full(queue: &QueueName, live: u64, doing: Operation) -> Error {
    let why = format!("the queue is full with {live} tasks; wait for room or raise its capacity");
    Error::new(ErrorKind::QueueFull, doing, why).on(queue)
}

#[async_trait]
impl Driver for Redis {
    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        const DECLARE: Operation = Operation::Declare;
        self.open_still(DECLARE)?;
        let conflict = |known: &QueueSpec| match known.first_difference(spec) {
            None => Ok(()),
            Some(field) => {
                let why = format!(
                    "the queue exists with another {field}; update it instead of declaring it"
                );
                Err(Error::new(ErrorKind::Conflict, DECLARE, why).on(&spec.name))
            }
        };
        if let Some(known) = self.find(&spec.name, DECLARE).await? {
            conflict(&known)?;
            // WHY: whoever began to make it may have been cut short.
            return self.make(&known, DECLARE).await.map(drop);
        }
        self.make_dead_letter_queue(spec, DECLARE).await?;
        let made = self.make(&QueueSpec { revision: 1, ..spec.clone() }, DECLARE).await?;
        conflict(&made)
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        const ENQUEUE: Operation = Operation::Enqueue;
        self.open_still(ENQUEUE)?;
        let known = self.known(queue, ENQUEUE).await?;
        let mut outcomes: Vec<Option<Result<Enqueued>>> = tasks.iter().map(|_| None).collect();
        for (partition, positions) in in_calls(self.routed(&known, tasks), tasks) {
            let partition = self.partition(queue, partition);
            let chosen = positions.iter().filter_map(|position| tasks.get(*position));
            let answered = self.append(queue, &partition, chosen).await;
            let answered = answered.inspect_err(|error| {
                if error.kind() == ErrorKind::NotFound {
                    self.forget(queue);
                }
            })?;
            for (position, outcome) in positions.into_iter().zip(answered) {
                if let Some(place) = outcomes.get_mut(position) {
                    *place = Some(outcome);
                }
            }
        }
        outcomes.into_iter().map(|outcome| outcome.ok_or_else(|| strange(ENQUEUE))).collect()
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        const OPEN: Operation = Operation::OpenSession;
        // WHY: leases outlive whoever holds them in any case.
        let SessionOptions { membership, holder: _ } = options;
        self.open_still(OPEN)?;
        let spec = self.seen(queue, OPEN).await?;
        let member = match membership {
            Membership::Shared => None,
            Membership::Member(id) => Some(
                group::Membership::join(self.clone(), queue.clone(), id.clone(), spec.partitions)
                    .await?,
            ),
        };
        Ok(Arc::new(RedisSession::new(self.clone(), queue.clone(), &spec, member)))
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Memory::Release);
        self.shared.carriers.close();
        self.shared.wake.all();
        self.shared.carriers.end(self.shared.config.response_timeout).await;
        Ok(())
    }
}

impl Redis {
    /// Positions of tasks by their partitions.
    fn routed(&self, spec: &QueueSpec, tasks: &[NewTask]) -> Vec<(u32, Vec<usize>)> {
        let mut routed: Vec<(u32, Vec<usize>)> = Vec::new();
        for (position, task) in tasks.iter().enumerate() {
            let to = spec.router.route(task.ordering_key.as_deref(), self.turn(), spec.partitions);
            match routed.iter_mut().find(|(partition, _)| *partition == to) {
                Some((_, positions)) => positions.push(position),
                None => routed.push((to, vec![position])),
            }
        }
        routed
    }

    async fn append<'a>(
        &self,
        queue: &QueueName,
        partition: &Partition,
        tasks: impl Iterator<Item = &'a NewTask> + Clone,
    ) -> Result<Vec<Result<Enqueued>>> {
        const ENQUEUE: Operation = Operation::Enqueue;
        let ids: Vec<(TaskId, String)> =
            tasks.clone().map(|task| (task.id, task.id.to_string())).collect();
        let mut arguments = Cmd::new();
        for (task, (_, id)) in tasks.zip(&ids) {
            envelope::add(&mut arguments, task, id, self.shared.config.serialization)?;
        }
        let how = How {
            script: || &script::ENQUEUE,
            doing: ENQUEUE,
            alike: [self.own_bound(), 0, 0],
            first: |call, [bound, ..], _| {
                call.arg(bound);
            },
            share: numbers,
        };
        let wanted = Wanted::new(ids.len(), arguments);
        let answers = self.gathered(how, partition, wanted).await;
        let answers = Parts::of(answers.map_err(|error| error.on(queue))?, ENQUEUE)?.rest();
        let answers = answers.into_iter().zip(ids);
        answers.map(|(answer, (id, _))| outcome(answer, id, partition, queue, ENQUEUE)).collect()
    }
}

/// Payload that one call sends at most, unless a single task has more: far below the gigabyte that a server takes
/// (`client-query-buffer-limit` of redis.conf).
const CALL_BYTES_MAX: usize = 64 << 20;

/// Positions of tasks by their partitions, in parts whose payloads fit one call.
fn in_calls(routed: Vec<(u32, Vec<usize>)>, tasks: &[NewTask]) -> Vec<(u32, Vec<usize>)> {
    let mut calls: Vec<(u32, Vec<usize>)> = Vec::with_capacity(routed.len());
    for (partition, positions) in routed {
        let (mut call, mut bytes) = (Vec::new(), 0);
        for position in positions {
            let own = tasks.get(position).map_or(0, |task| task.payload.len());
            bytes += own;
            if bytes > CALL_BYTES_MAX && !call.is_empty() {
                calls.push((partition, std::mem::take(&mut call)));
                bytes = own;
            }
            call.push(position);
        }
        calls.push((partition, call));
    }
    calls
}

/// An answer of `lua/enqueue.lua` for each of those who sent so many tasks.
fn numbers(answer: Value, counts: &[usize], doing: Operation) -> Result<Vec<Value>> {
    let answer = match answer {
        Value::Int(first) => {
            let all = counts.iter().sum::<usize>() as i64;
            Value::Array((first..first.saturating_add(all)).map(Value::Int).collect())
        }
        answer => answer,
    };
    gather::one_for_each(answer, counts, doing)
}

/// What became of a task, as `lua/enqueue.lua` says. The inner error is the task's own.
pub(crate) fn outcome(
    answer: Value,
    id: TaskId,
    partition: &Partition,
    queue: &QueueName,
    doing: Operation,
) -> Result<Result<Enqueued>> {
    if let Value::Int(number) = answer {
        let number = u64::try_from(number).map_err(|_| strange(doing))?;
        return Ok(Ok(Enqueued { id, sequence: partition.sequence(number), deduplicated: false }));
    }
    let mut answer = Parts::of(answer, doing)?;
    let (code, number) = (answer.int()?, answer.number()?);
    Ok(match code {
        1 => {
            let earlier = answer.text()?.parse().map_err(|_| strange(doing))?;
            Ok(Enqueued { id: earlier, sequence: partition.sequence(number), deduplicated: true })
        }
        _ => Err(full(queue, number, doing)),
    })
}
