//! What a restart forgets: sessions, deliveries, and what was completed above the watermarks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tidegate_core::limits::SETTLED_MEMORY;
use tidegate_core::{
    DeadLetter, Lease, Lost, Ordering, QueueName, ReceiveOptions, Settled, State, Task, Timestamp,
    Verdict,
};

use super::journal::{Journal, LogQueue, Record};
use super::token::{Fenced, Place};

/// The consumers of all queues.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) sessions: HashSet<u64>,
    queues: HashMap<QueueName, Progress>,
    /// Fences that were settled, and until when that is told.
    settled: HashMap<u64, Timestamp>,
}

/// How far the consumers of one queue are.
#[derive(Debug, Default)]
struct Progress {
    /// Done above the watermark, by the session that will be missed for it.
    done: BTreeMap<Place, u64>,
    deliveries: BTreeMap<Place, Delivery>,
}

/// The newest delivery of a record.
#[derive(Clone, Debug)]
struct Delivery {
    fence: u64,
    session: u64,
    until: Timestamp,
    /// Whether it is over: settled, or its session is gone.
    over: bool,
    count: u32,
    released: u32,
    error: Option<String>,
}

impl Delivery {
    fn is_live(&self, now: Timestamp) -> bool {
        !self.over && now < self.until
    }
}

impl Group {
    /// When the next lease of a queue ends.
    pub(super) fn next_end(&self, name: &QueueName, now: Timestamp) -> Option<Timestamp> {
        let deliveries = self.queues.get(name)?.deliveries.values();
        deliveries.filter(|delivery| delivery.is_live(now)).map(|delivery| delivery.until).min()
    }

    pub(super) fn receive(
        &mut self,
        journal: &mut Journal,
        name: &QueueName,
        session: u64,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Vec<Lease> {
        let progress = self.queues.entry(name.clone()).or_default();
        let next_up = journal.queues.get(name).map(|queue| progress.next_up(queue, options, now));
        let hand_out = |at| {
            let fence = journal.number();
            progress.hand_out(journal.queues.get(name)?, at, session, fence, now)
        };
        next_up.unwrap_or_default().into_iter().filter_map(hand_out).collect()
    }

    /// Why a token no longer counts, if it does not.
    fn refusal(&self, queue: &LogQueue, fenced: Fenced, now: Timestamp) -> Option<Settled> {
        if self.settled.get(&fenced.fence).is_some_and(|until| now < *until) {
            return Some(Settled::AlreadyDone);
        }
        if !self.sessions.contains(&fenced.session) {
            return Some(Settled::Lost(Lost::Expired));
        }
        let progress = self.queues.get(&queue.spec.name)?;
        match progress.deliveries.get(&fenced.at) {
            _ if progress.is_done(queue, fenced.at) => Some(Settled::Lost(Lost::NotFound)),
            None => Some(Settled::Lost(Lost::NotFound)),
            Some(newest) if newest.fence != fenced.fence => Some(Settled::Lost(Lost::Superseded)),
            Some(newest) if newest.over => Some(Settled::Lost(Lost::NotFound)),
            Some(_) => None,
        }
    }

    pub(super) fn settle(
        &mut self,
        journal: &mut Journal,
        name: &QueueName,
        fenced: Fenced,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Settled {
        let Some(queue) = journal.queues.get(name) else {
            return Settled::Lost(Lost::NotFound);
        };
        if let Some(refused) = self.refusal(queue, fenced, now) {
            return refused;
        }
        self.settled.retain(|_, until| now < *until);
        self.settled.insert(fenced.fence, now.plus(SETTLED_MEMORY));
        let progress = self.queues.entry(name.clone()).or_default();
        let state = match verdict {
            Verdict::Complete => State::Done,
            Verdict::DeadLetter { .. } => State::Dead,
            Verdict::Retry { .. } | Verdict::Release { .. } => State::Ready,
        };
        if let Verdict::DeadLetter { reason } = verdict {
            progress.bury(journal, name, fenced.at, reason, now);
        }
        progress.end(fenced.at, verdict);
        if matches!(state, State::Done | State::Dead) {
            progress.done.insert(fenced.at, fenced.session);
            progress.raise_watermark(journal, name, fenced.at.partition);
        }
        Settled::Done { state }
    }

    pub(super) fn extend(
        &mut self,
        journal: &Journal,
        name: &QueueName,
        fenced: Fenced,
        length: Duration,
        now: Timestamp,
    ) -> Settled {
        let Some(queue) = journal.queues.get(name) else {
            return Settled::Lost(Lost::NotFound);
        };
        if let Some(refused) = self.refusal(queue, fenced, now) {
            return refused;
        }
        let progress = self.queues.entry(name.clone()).or_default();
        match progress.deliveries.get_mut(&fenced.at).filter(|delivery| delivery.is_live(now)) {
            Some(delivery) => {
                delivery.until = now.plus(length);
                Settled::Done { state: State::Leased }
            }
            None => Settled::Lost(Lost::Expired),
        }
    }

    /// Ends a session: what it held comes again, and what it completed above a watermark too.
    pub(super) fn leave(&mut self, session: u64) {
        if !self.sessions.remove(&session) {
            return;
        }
        for progress in self.queues.values_mut() {
            progress.done.retain(|_, by| *by != session);
            let its = progress.deliveries.values_mut().filter(|d| d.session == session && !d.over);
            for delivery in its {
                delivery.over = true;
                delivery.released += 1;
            }
        }
    }
}

impl Progress {
    fn is_done(&self, queue: &LogQueue, at: Place) -> bool {
        queue.below_watermark(at) || self.done.contains_key(&at)
    }

    /// Whether the record is in somebody's hands.
    fn is_held(&self, at: Place, now: Timestamp) -> bool {
        self.deliveries.get(&at).is_some_and(|delivery| delivery.is_live(now))
    }

    /// What a receive hands out: lane by lane in the order of their first records, and from each
    /// the first ones.
    fn next_up(&self, queue: &LogQueue, options: &ReceiveOptions, now: Timestamp) -> Vec<Place> {
        let open = queue.open_records();
        let open: Vec<_> = open.into_iter().filter(|(at, _)| !self.done.contains_key(at)).collect();
        let key = |record: &Record| match queue.spec.ordering {
            Ordering::Key => record.task.ordering_key.clone(),
            Ordering::None => None,
        };
        let held = open.iter().filter(|(at, _)| self.is_held(*at, now));
        let blocked: BTreeSet<String> = held.filter_map(|(_, record)| key(record)).collect();
        let mut lanes: Vec<Vec<Place>> = Vec::new();
        let mut lane_of: HashMap<String, usize> = HashMap::new();
        for (at, record) in open {
            let key = key(record);
            let is_blocked = key.as_ref().is_some_and(|key| blocked.contains(key));
            if is_blocked || self.is_held(at, now) {
                continue;
            }
            let fresh = lanes.len();
            let lane = key.map_or(fresh, |key| *lane_of.entry(key).or_insert(fresh));
            match lanes.get_mut(lane) {
                Some(lane) => lane.push(at),
                None => lanes.push(vec![at]),
            }
        }
        let next_up = lanes.into_iter().flat_map(|lane| lane.into_iter().take(options.per_key));
        next_up.take(options.limit).collect()
    }

    fn hand_out(
        &mut self,
        queue: &LogQueue,
        at: Place,
        session: u64,
        fence: u64,
        now: Timestamp,
    ) -> Option<Lease> {
        let (record, duration) = (queue.record(at)?, queue.spec.lease);
        let until = now.plus(duration);
        let before = self.deliveries.remove(&at);
        let (count, released, error) =
            before.map_or((0, 0, record.last_error.clone()), |d| (d.count, d.released, d.error));
        let delivery =
            Delivery { fence, session, until, over: false, count: count + 1, released, error };
        let task = to_task(queue, at, record, &delivery);
        self.deliveries.insert(at, delivery);
        let token = Fenced { queue: queue.id, session, at, fence }.to_token();
        Some(Lease { task, token, until, duration })
    }

    /// Ends the newest delivery of a record.
    fn end(&mut self, at: Place, verdict: &Verdict) {
        let Some(delivery) = self.deliveries.get_mut(&at) else {
            return;
        };
        delivery.over = true;
        match verdict {
            Verdict::Release { .. } => delivery.released += 1,
            Verdict::Retry { error, .. } => delivery.error.clone_from(error),
            Verdict::Complete | Verdict::DeadLetter { .. } => {}
        }
    }

    /// Appends a copy of a record to the dead-letter queue; what dies in one goes to its tail.
    fn bury(
        &self,
        journal: &mut Journal,
        name: &QueueName,
        at: Place,
        reason: &str,
        now: Timestamp,
    ) {
        let Some(queue) = journal.queues.get(name) else {
            return;
        };
        let (Some(record), Some(delivery)) = (queue.record(at), self.deliveries.get(&at)) else {
            return;
        };
        let dead = DeadLetter {
            source: name.clone(),
            reason: reason.to_owned(),
            error: delivery.error.clone(),
            attempts: delivery.count.saturating_sub(delivery.released),
            died_at: now,
        };
        let last_error = delivery.error.clone();
        let record = Record { last_error, dead_letter: Some(dead), ..record.clone() };
        let target = queue.spec.dead_letters.queue.clone().unwrap_or_else(|| name.clone());
        journal.append(&target, record);
    }

    /// Moves the watermark over what is done from there on without a gap.
    fn raise_watermark(&mut self, journal: &mut Journal, name: &QueueName, partition: u32) {
        let queue = journal.queues.get_mut(name);
        let Some(log) = queue.and_then(|queue| queue.partitions.get_mut(&partition)) else {
            return;
        };
        loop {
            let at = Place { partition, offset: log.watermark };
            if self.done.remove(&at).is_none() {
                return;
            }
            self.deliveries.remove(&at);
            log.watermark += 1;
        }
    }
}

fn to_task(queue: &LogQueue, at: Place, record: &Record, delivery: &Delivery) -> Task {
    let Record { task, sequence, enqueued_at, last_error: _, dead_letter } = record;
    Task {
        id: task.id,
        queue: queue.spec.name.clone(),
        kind: task.kind.clone(),
        payload: task.payload.clone(),
        headers: task.headers.clone(),
        priority: 0,
        ordering_key: task.ordering_key.clone(),
        partition: at.partition,
        sequence: *sequence,
        deliveries: delivery.count,
        attempt: delivery.count.saturating_sub(delivery.released),
        enqueued_at: *enqueued_at,
        last_error: delivery.error.clone(),
        dead_letter: dead_letter.clone(),
    }
}
