//! One consumer's place at a queue.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use event_listener::EventListener;
use futures_util::future::{join_all, select_all, try_join_all};
use redis::{Cmd, Value};
use tidegate_core::limits::RECEIVE_BYTES_MAX;
use tidegate_core::{
    AttemptId, Error, ErrorKind, Held, Lease, LeaseToken, Lost, Operation, QueueName, QueueSpec,
    ReceiveOptions, Result, Session, Settled, State, Timestamp, Verdict,
};

use crate::driver::Redis;
use crate::envelope;
use crate::gather::{self, How, Wanted};
use crate::group::Membership;
use crate::leases::{Leased, shared_out, with_leases_apart};
use crate::link::{PAUSE, is_changing};
use crate::partition::{Partition, time};
use crate::reply::{self, Parts, int_of, strange};
use crate::script;
use crate::token::Fenced;

/// The name under which sessions read the streams: nobody's, for leases are kept beside them.
const CONSUMER: &str = "tidegate";

pub(crate) struct RedisSession {
    redis: Redis,
    queue: QueueName,
    partitions: Vec<Partition>,
    /// `None` receives from all partitions, beside others.
    member: Option<Membership>,
    /// Where the next receive begins, so that no partition comes last each time.
    first: AtomicUsize,
    /// What was handed out here and not settled here.
    held: Mutex<HashMap<Fenced, Timestamp>>,
    closed: AtomicBool,
}

impl fmt::Debug for RedisSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisSession").field(&self.queue).finish()
    }
}

/// What tokens say, with their places among those that were given.
type Placed = Vec<(usize, Fenced)>;

/// Which tasks a receive that has a name wants of a partition.
#[derive(Clone, Copy)]
enum Which {
    /// What an earlier receive of the name was handed, or nothing.
    Again,
    /// Tasks that were not handed out to it before.
    New,
    /// The first of these if it can be had, else the second.
    Either,
}

/// What one look found.
struct Look {
    leases: Vec<Lease>,
    /// Of the tasks.
    bytes: usize,
    /// When something is due that nobody tells of.
    due: Option<Duration>,
}

/// What the leases of one answer have in common.
struct Terms {
    /// The queue's id.
    queue: u64,
    duration: Duration,
    until: Timestamp,
    /// Of those that were handed out now.
    fence: u64,
}

impl RedisSession {
    pub(crate) fn new(
        redis: Redis,
        queue: QueueName,
        spec: &QueueSpec,
        member: Option<Membership>,
    ) -> Self {
        let partitions = redis.partitions(&queue, spec);
        let (first, held, closed) = (AtomicUsize::new(0), Mutex::default(), AtomicBool::new(false));
        Self { redis, queue, partitions, member, first, held, closed }
    }

    fn open(&self, doing: Operation) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).on(&self.queue));
        }
        self.redis.open_still(doing)
    }

    /// The partitions to receive from now, and word of a change of them.
    fn mine(&self) -> (Vec<&Partition>, Option<EventListener>) {
        match &self.member {
            None => (self.partitions.iter().collect(), None),
            Some(member) => {
                let (owned, changed) = member.owned();
                let mine =
                    owned.into_iter().filter_map(|index| self.partitions.get(index as usize));
                (mine.collect(), Some(changed))
            }
        }
    }

    /// Looks once at the partitions that are `mine`, or where an earlier receive of the same name was handed tasks.
    async fn look(&self, mine: &[&Partition], options: &ReceiveOptions) -> Result<Look> {
        let Some(id) = &options.attempt_id else {
            return self.look_through(mine, options, Which::New).await;
        };
        if let ([_only], [_of_one]) = (mine, self.partitions.as_slice()) {
            return self.look_through(mine, options, Which::Either).await;
        }
        let counts =
            try_join_all(self.partitions.iter().map(|it| self.given(id, it, false))).await?;
        let known = self.partitions.iter().zip(&counts).filter(|(_, count)| **count != 0);
        let known: Vec<&Partition> = known.map(|(partition, _)| partition).collect();
        // All of it, held as it was then and no more than is wanted; or none of it.
        let sum: Option<usize> = counts.iter().map(|count| usize::try_from(*count).ok()).sum();
        if !known.is_empty() && sum.is_some_and(|sum| sum <= options.limit) {
            return self.look_through(&known, options, Which::Again).await;
        }
        let look = self.look_through(mine, options, Which::New).await?;
        // WHY: else what is left of the earlier receive would keep this one from being made again. The tasks are
        // held already, so that where it fails nothing else does.
        let has_new = |partition: &Partition| {
            look.leases.iter().any(|it| it.task.partition == partition.index)
        };
        let is_left = |partition: &&Partition| !look.leases.is_empty() && !has_new(partition);
        let left = known.into_iter().filter(is_left).map(|it| self.given(id, it, true));
        let _costs_the_repeat = join_all(left).await;
        Ok(look)
    }

    /// How many tasks an earlier receive of this name was handed from a partition, below zero if not all of them are
    /// held as they were then.
    async fn given(&self, id: &AttemptId, partition: &Partition, forget: bool) -> Result<i64> {
        const RECEIVE: Operation = Operation::Receive;
        let answer = self.redis.change(&script::ATTEMPT, partition, RECEIVE, |call| {
            call.arg(id.as_str()).arg(u8::from(forget));
        });
        int_of(&answer.await.map_err(|error| error.on(&self.queue))?, RECEIVE)
    }

    /// Looks at partitions until there is enough. While some are without a server, the others are looked at, and all of
    /// them again for a while if there is nothing.
    async fn look_through(
        &self,
        partitions: &[&Partition],
        options: &ReceiveOptions,
        which: Which,
    ) -> Result<Look> {
        let mut left = self.redis.link.rounds();
        loop {
            let (look, away) = self.look_round(partitions, options, which).await?;
            left = left.saturating_sub(1);
            match away {
                Some(error) if look.leases.is_empty() && left == 0 => return Err(error),
                Some(_) if look.leases.is_empty() => tokio::time::sleep(PAUSE).await,
                _ => return Ok(look),
            }
        }
    }

    /// Looks once at partitions until there is enough. Returns why one of them could not be looked at.
    async fn look_round(
        &self,
        partitions: &[&Partition],
        options: &ReceiveOptions,
        which: Which,
    ) -> Result<(Look, Option<Error>)> {
        let mut look = Look { leases: Vec::new(), bytes: 0, due: None };
        let mut away = None;
        let first = self.first.fetch_add(1, Ordering::Relaxed);
        for turn in 0..partitions.len() {
            let limit = options.limit.saturating_sub(look.leases.len());
            let Some(partition) = partitions.get((first + turn) % partitions.len()) else {
                continue;
            };
            if limit == 0 || (look.bytes >= RECEIVE_BYTES_MAX && !matches!(which, Which::Again)) {
                break;
            }
            let options = ReceiveOptions { limit, ..options.clone() };
            match self.look_at(partition, &options, which, &mut look).await {
                // WHY: one that has a name can be made again, with all that it was handed.
                Err(error) if options.attempt_id.is_some() => return Err(error),
                Err(error) if is_changing(&error) => away = Some(error),
                // INVARIANT: what is in hand is not lost for what is not.
                Err(error) if look.leases.is_empty() => return Err(error),
                Err(error) => {
                    away = Some(error);
                    break;
                }
                Ok(()) => {}
            }
        }
        Ok((look, away))
    }

    async fn look_at(
        &self,
        partition: &Partition,
        options: &ReceiveOptions,
        which: Which,
        look: &mut Look,
    ) -> Result<()> {
        const RECEIVE: Operation = Operation::Receive;
        let ReceiveOptions { limit, wait: _, lease, per_key, attempt_id } = options;
        let limit = (*limit).min(crate::capabilities::BATCH_MAX);
        let lease_us = lease.map_or(-1, |lease| lease.as_micros() as i64);
        let bytes_max = RECEIVE_BYTES_MAX.saturating_sub(look.bytes).max(1);
        let answer = match attempt_id {
            // WHY: tasks of one key go to one receiver at a time.
            None if *per_key == 1 => {
                let alike = [lease_us, 1, bytes_max as i64];
                self.look_with_others(partition, limit, alike).await
            }
            _ => {
                let redis = match attempt_id {
                    Some(_) => self.redis.clone(),
                    None => self.redis.impatient(),
                };
                let receive = |call: &mut Cmd| {
                    call.arg(limit).arg(lease_us).arg(*per_key).arg(CONSUMER);
                    call.arg(attempt_id.as_ref().map_or("", AttemptId::as_str)).arg(which.word());
                    call.arg(bytes_max);
                };
                let answer = redis.change(&script::RECEIVE, partition, RECEIVE, receive).await;
                answer.and_then(|answer| with_leases_apart(answer, RECEIVE))
            }
        };
        let mut answer = Parts::of(answer.map_err(|error| error.on(&self.queue))?, RECEIVE)?;
        let leases = answer.parts()?;
        let duration = Duration::from_micros(answer.number()?);
        let due = answer.int()?;
        // WHY: a queue of this name may have been made again since the session was opened.
        let (queue, now) = (answer.number()?, time(answer.number()?));
        let until = now.plus(duration);
        let terms = Terms { queue, duration, until, fence: answer.number()? };
        for lease in leases.each() {
            let lease = lease?;
            look.bytes += lease.bytes_in_all();
            let told = Leased::read(lease, terms.fence)?;
            look.leases.push(self.lease(told, partition, &terms)?);
        }
        if let Ok(due) = u64::try_from(due) {
            let due = Duration::from_micros(due);
            look.due = Some(look.due.map_or(due, |sooner| sooner.min(due)));
        }
        Ok(())
    }

    /// Looks at a partition together with all who look at it now, and again for as long as others found something and
    /// nothing was left.
    async fn look_with_others(
        &self,
        partition: &Partition,
        limit: usize,
        alike: gather::Alike,
    ) -> Result<Value> {
        const RECEIVE: Operation = Operation::Receive;
        let how = How {
            script: || &script::RECEIVE,
            doing: RECEIVE,
            alike,
            first: |call, [lease_us, per_key, bytes_max], limit| {
                call.arg(limit).arg(lease_us).arg(per_key).arg(CONSUMER).arg("").arg("new");
                call.arg(bytes_max);
            },
            share: shared_out,
        };
        loop {
            let wanted = Wanted::new(limit, Cmd::new());
            let answer = self.redis.impatient().gathered(how, partition, wanted).await?;
            if !matches!(answer, Value::Nil) {
                return Ok(answer);
            }
        }
    }

    fn lease(&self, told: Leased, partition: &Partition, terms: &Terms) -> Result<Lease> {
        const RECEIVE: Operation = Operation::Receive;
        let Leased { number, fence, priority, deliveries, attempt, .. } = told;
        let Leased { moved, last_error, fields, enqueued_us, .. } = told;
        let known = envelope::Known {
            partition: partition.index,
            sequence: partition.sequence(number),
            priority: u8::try_from(priority).map_err(|_| strange(RECEIVE))?,
            deliveries,
            attempt,
            enqueued_us,
            last_error,
            dead_letter: envelope::dead_letter(moved, RECEIVE)?,
        };
        let Terms { queue, duration, until, fence: _ } = *terms;
        let fenced = Fenced::new(&self.queue, queue, partition.index, number, fence);
        self.hold(fenced, duration);
        let task = envelope::task(&self.queue, fields, known);
        Ok(Lease { task, token: fenced.to_token(), until, duration })
    }

    fn hold(&self, fenced: Fenced, duration: Duration) {
        let now = self.redis.shared.config.clock.now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // WHY: those that nobody settled here are over when their time is, or were settled elsewhere.
        if held.len() >= HELD_LOOKED_THROUGH && held.len().is_power_of_two() {
            held.retain(|_, until| *until > now);
        }
        held.insert(fenced, now.plus(duration));
    }

    /// Reads tokens, all or none, and gathers them by partition with their places.
    fn by_partition<T>(
        &self,
        leases: &[(LeaseToken, T)],
        doing: Operation,
    ) -> Result<Vec<(Partition, Placed)>> {
        let mut gathered: Vec<(Partition, Placed)> = Vec::new();
        for (place, (token, _)) in leases.iter().enumerate() {
            let fenced = Fenced::read(token, &self.queue, doing)?;
            match gathered.iter_mut().find(|(partition, _)| partition.index == fenced.partition) {
                Some((_, those)) => those.push((place, fenced)),
                None => {
                    let partition = self.redis.partition(&self.queue, fenced.partition);
                    gathered.push((partition, vec![(place, fenced)]));
                }
            }
        }
        Ok(gathered)
    }

    async fn decide<T>(
        &self,
        script: fn() -> &'static script::Script,
        leases: &[(LeaseToken, T)],
        doing: Operation,
        add: impl Fn(&mut Cmd, &[(Fenced, &T)]),
    ) -> Result<Vec<Settled>> {
        let mut outcomes: Vec<Option<Settled>> = leases.iter().map(|_| None).collect();
        for (partition, those) in self.by_partition(leases, doing)? {
            let what = |(place, fenced): &(usize, Fenced)| Some((*fenced, &leases.get(*place)?.1));
            let mut arguments = Cmd::new();
            add(&mut arguments, &those.iter().filter_map(what).collect::<Vec<_>>());
            let how = How { script, doing, alike: [0; 3], first: |_, _, _| {}, share: states };
            let wanted = Wanted::new(those.len(), arguments);
            let answers = self.redis.gathered(how, &partition, wanted).await;
            let answers = Parts::of(answers.map_err(|error| error.on(&self.queue))?, doing)?.rest();
            for ((place, fenced), answer) in those.into_iter().zip(answers) {
                let settled = settled(&reply::text(answer, doing)?, doing)?;
                if !matches!(settled, Settled::Done { state: State::Leased }) {
                    self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&fenced);
                }
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = Some(settled);
                }
            }
        }
        outcomes.into_iter().map(|outcome| outcome.ok_or_else(|| strange(doing))).collect()
    }
}

impl Which {
    /// As `lua/receive.lua` reads it.
    fn word(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::New => "new",
            Self::Either => "either",
        }
    }
}

/// More leases than a session usually holds.
const HELD_LOOKED_THROUGH: usize = 1_024;

/// An outcome, as `lua/settle.lua` and `lua/extend.lua` write it.
pub(crate) fn settled(code: &str, doing: Operation) -> Result<Settled> {
    Ok(match code {
        "D" => Settled::Done { state: State::Done },
        "X" => Settled::Done { state: State::Dead },
        "R" => Settled::Done { state: State::Ready },
        "W" => Settled::Done { state: State::Scheduled },
        "L" => Settled::Done { state: State::Leased },
        "a" => Settled::AlreadyDone,
        "e" => Settled::Lost(Lost::Expired),
        "s" => Settled::Lost(Lost::Superseded),
        "n" => Settled::Lost(Lost::NotFound),
        _ => return Err(strange(doing)),
    })
}

/// Adds verdicts to the arguments of a script, as `lua/settle.lua` says.
fn add_verdicts(call: &mut Cmd, verdicts: &[(Fenced, &Verdict)]) {
    let alike = |(one, verdict): &(Fenced, &Verdict), (other, next): &(Fenced, &Verdict)| {
        (one.queue, one.fence, verdict) == (other.queue, other.fence, next)
    };
    for group in verdicts.chunk_by(alike) {
        let Some((first, verdict)) = group.first() else { continue };
        let (word, after_us, said) = words_of(verdict);
        call.arg(word).arg(first.queue).arg(first.fence).arg(group.len()).arg(after_us).arg(said);
        group.iter().for_each(|(fenced, _)| {
            call.arg(fenced.number);
        });
    }
}

/// An answer of `lua/settle.lua` for each of those who settled so many leases.
fn states(answer: Value, counts: &[usize], doing: Operation) -> Result<Vec<Value>> {
    let answer = match answer {
        Value::Int(_) => {
            let all = counts.iter().sum();
            Value::Array(vec![Value::SimpleString("D".into()); all])
        }
        answer => answer,
    };
    gather::one_for_each(answer, counts, doing)
}

/// A verdict as scripts read it, the time after which the task may come back, and the error or the reason.
pub(crate) fn words_of(verdict: &Verdict) -> (&'static str, u64, &str) {
    let us = |after: &Duration| after.as_micros() as u64;
    match verdict {
        Verdict::Complete => ("C", 0, ""),
        Verdict::Retry { after, error } => ("R", us(after), error.as_deref().unwrap_or_default()),
        Verdict::Release { after } => ("L", us(after), ""),
        Verdict::DeadLetter { reason } => ("X", 0, reason.as_str()),
    }
}

#[async_trait]
impl Session for RedisSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let clock = &self.redis.shared.config.clock;
        let deadline = clock.now().plus(options.wait);
        loop {
            self.open(Operation::Receive)?;
            let (mine, changed) = self.mine();
            if options.wait.is_zero() {
                return Ok(self.look(&mine, options).await?.leases);
            }
            // INVARIANT: listened to before the look, so that nothing becomes available unheard.
            let wake = &self.redis.shared.wake;
            let told = mine.iter().map(|partition| wake.listen(&partition.channel()));
            let told: Vec<_> = told.chain(changed).chain([wake.listen_to_close()]).collect();
            let Look { leases, bytes: _, due } = self.look(&mine, options).await?;
            let now = clock.now();
            if !leases.is_empty() || now >= deadline {
                return Ok(leases);
            }
            let patience = self.redis.shared.config.block_timeout;
            let until = now.plus(due.map_or(patience, |due| due.min(patience))).min(deadline);
            tokio::select! {
                _ = select_all(told) => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.open(Operation::Settle)?;
        self.decide(|| &script::SETTLE, verdicts, Operation::Settle, add_verdicts).await
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        self.open(Operation::Extend)?;
        let add = |call: &mut Cmd, leases: &[(Fenced, &Duration)]| {
            for (fenced, length) in leases {
                call.arg(fenced.queue).arg(fenced.number).arg(fenced.fence);
                call.arg(length.as_micros() as u64);
            }
        };
        self.decide(|| &script::EXTEND, leases, Operation::Extend, add).await
    }

    async fn close(&self, held: Held) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.redis.shared.wake.all();
        if let Some(member) = &self.member {
            member.leave().await?;
        }
        let left: Vec<Fenced> = self
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .map(|(fenced, _)| fenced)
            .collect();
        if held == Held::Release && !left.is_empty() {
            let release = Verdict::Release { after: Duration::ZERO };
            let verdicts: Vec<_> =
                left.into_iter().map(|fenced| (fenced.to_token(), release.clone())).collect();
            for some in verdicts.chunks(crate::capabilities::BATCH_MAX) {
                self.decide(|| &script::SETTLE, some, Operation::Close, add_verdicts).await?;
            }
        }
        Ok(())
    }
}
