//! A history sorted by what it is about: the life of each task, and what happened to whole queues.

use std::collections::{HashMap, HashSet};

use super::event::{Answer, Decided, DedupSent, Event, Outcome, What};

/// All lives, and what they have in common.
#[derive(Default)]
pub(super) struct Lives<'a> {
    pub(super) tasks: HashMap<&'a str, Life<'a>>,
    /// When a client gave back all it held on a queue.
    pub(super) gave_back: HashMap<(&'a str, &'a str), Vec<u64>>,
    /// When leases of the broker's process may first have ended with it.
    pub(super) lease_losses: Vec<u64>,
    pub(super) restarts: Vec<u64>,
    /// When the last purge that may have been carried out was over.
    pub(super) purges: HashMap<&'a str, u64>,
    /// When the first redrive that may have been carried out was begun.
    pub(super) redrives: HashMap<&'a str, u64>,
    pub(super) finals: HashMap<&'a str, Final<'a>>,
    /// Tasks that are listed at the end, as live or dead.
    pub(super) left: HashSet<&'a str>,
}

/// What is known of one task.
#[derive(Default)]
pub(super) struct Life<'a> {
    pub(super) sends: Vec<Send<'a>>,
    pub(super) deliveries: Vec<Delivery<'a>>,
    pub(super) settles: Vec<Settle<'a>>,
    pub(super) extends: Vec<Extend>,
}

pub(super) struct Send<'a> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) outcome: Outcome,
    pub(super) queue: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) producer: &'a str,
    pub(super) seq: u64,
    pub(super) delay: u64,
    pub(super) dedup: Option<&'a DedupSent>,
}

#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) client: &'a str,
    pub(super) queue: &'a str,
    pub(super) token: u64,
    pub(super) lease: u64,
}

pub(super) struct Settle<'a> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) queue: &'a str,
    pub(super) token: u64,
    pub(super) verdict: Decided,
    pub(super) outcome: Outcome,
    pub(super) answer: Option<Answer>,
}

pub(super) struct Extend {
    pub(super) start: u64,
    pub(super) token: u64,
    pub(super) lease: u64,
    pub(super) outcome: Outcome,
    pub(super) answer: Option<Answer>,
}

pub(super) struct Final<'a> {
    pub(super) live: &'a [String],
    pub(super) dead: &'a [String],
    pub(super) live_count: u64,
    pub(super) dead_count: u64,
}

fn done(answer: Option<Answer>) -> bool {
    matches!(answer, Some(Answer::Done | Answer::DoneDead))
}

impl Settle<'_> {
    /// It was carried out and its client knows.
    pub(super) fn is_done(&self) -> bool {
        self.outcome == Outcome::Ok && done(self.answer)
    }

    /// It may have been carried out.
    pub(super) fn may_be_done(&self) -> bool {
        self.is_done() || self.outcome == Outcome::Unknown
    }

    pub(super) fn is_death(&self) -> bool {
        self.is_done()
            && (self.verdict == Decided::DeadLetter || self.answer == Some(Answer::DoneDead))
    }

    /// It may have been the end of the task's life in its queue.
    pub(super) fn may_be_the_end(&self) -> bool {
        let ends = matches!(self.verdict, Decided::Complete | Decided::DeadLetter);
        self.may_be_done() && (ends || self.answer == Some(Answer::DoneDead))
    }
}

impl Extend {
    pub(super) fn is_done(&self) -> bool {
        self.outcome == Outcome::Ok && done(self.answer)
    }
}

impl Life<'_> {
    /// Whether it was sent once and not as a duplicate: only then its id is one task's.
    pub(super) fn is_one_task(&self) -> bool {
        self.sends.iter().filter(|send| send.outcome != Outcome::Fail).count() == 1
    }
}

impl<'a> Lives<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut lives = Self::default();
        events.iter().for_each(|event| lives.add(event));
        lives.restarts.sort_unstable();
        lives.lease_losses.sort_unstable();
        lives.gave_back.values_mut().for_each(|times| times.sort_unstable());
        for life in lives.tasks.values_mut() {
            life.deliveries.sort_by_key(|delivery| (delivery.end, delivery.start));
            life.extends.sort_by_key(|extend| extend.start);
        }
        lives
    }

    fn add(&mut self, event: &'a Event) {
        let Event { client, start_us: start, end_us: end, outcome, what } = event;
        let (start, end, outcome) = (*start, *end, *outcome);
        match what {
            What::Enqueued { queue, id, key, producer, seq, delay_us, dedup } => {
                let (delay, key, dedup) = (*delay_us, key.as_deref(), dedup.as_ref());
                let seq = *seq;
                let send = Send { start, end, outcome, queue, key, producer, seq, delay, dedup };
                self.tasks.entry(id).or_default().sends.push(send);
            }
            What::Received { queue, id, token, lease_us, attempt: _, deliveries: _ } => {
                let (token, lease) = (*token, *lease_us);
                let delivery = Delivery { start, end, client, queue, token, lease };
                if outcome == Outcome::Ok {
                    self.tasks.entry(id).or_default().deliveries.push(delivery);
                }
            }
            What::Settled { queue, id, token, verdict, answer } => {
                let (token, verdict, answer) = (*token, *verdict, *answer);
                let settle = Settle { start, end, queue, token, verdict, outcome, answer };
                self.tasks.entry(id).or_default().settles.push(settle);
            }
            What::Extended { queue: _, id, token, lease_us, answer } => {
                let (token, lease, answer) = (*token, *lease_us, *answer);
                let extend = Extend { start, token, lease, outcome, answer };
                self.tasks.entry(id).or_default().extends.push(extend);
            }
            _ if outcome == Outcome::Fail => {}
            What::GaveBack { queue } => {
                self.gave_back.entry((client, queue)).or_default().push(start);
            }
            What::Restarted { leases_over } => {
                self.restarts.push(start);
                self.lease_losses.extend(leases_over.then_some(start));
            }
            What::Purged { queue } => {
                // WHY: one without an answer may be carried out at any later time.
                let over = if outcome == Outcome::Ok { end } else { u64::MAX };
                let last = self.purges.entry(queue).or_default();
                *last = over.max(*last);
            }
            What::Redriven { queue } => {
                let first = self.redrives.entry(queue).or_insert(start);
                *first = start.min(*first);
            }
            What::Final { queue, live, dead, live_count, dead_count } => {
                let (live_count, dead_count) = (*live_count, *dead_count);
                self.left.extend(live.iter().chain(dead).map(String::as_str));
                self.finals.insert(queue, Final { live, dead, live_count, dead_count });
            }
        }
    }

    /// Until when a lease certainly held: no earlier than this, unless nothing is wrong.
    pub(super) fn held_until(&self, life: &Life<'_>, delivery: &Delivery<'_>) -> u64 {
        let mut until = delivery.start.saturating_add(delivery.lease);
        for extend in life.extends.iter().filter(|extend| extend.token == delivery.token) {
            let extended = extend.start.saturating_add(extend.lease);
            if extend.is_done() {
                until = extended;
            } else if extend.outcome == Outcome::Unknown {
                until = until.min(extended);
            }
        }
        let settled = life.settles.iter().filter(|s| s.token == delivery.token && s.may_be_done());
        let ends = settled.map(|settle| settle.start);
        let gave_back = self.gave_back.get(&(delivery.client, delivery.queue));
        let ends = ends.chain(gave_back.and_then(|times| first_from(times, delivery.start)));
        let ends = ends.chain(first_from(&self.lease_losses, delivery.start));
        ends.fold(until, u64::min)
    }

    /// Whether tasks of the queue may have been purged after `since`.
    pub(super) fn purged_after(&self, queue: &str, since: u64) -> bool {
        self.purges.get(queue).is_some_and(|over| *over >= since)
    }

    /// Whether tasks that died in any queue may have been redriven before `until`.
    pub(super) fn redriven_before(&self, until: u64) -> bool {
        self.redrives.values().any(|begun| *begun < until)
    }

    /// Whether the broker was restarted between the two.
    pub(super) fn restarted_between(&self, from: u64, until: u64) -> bool {
        first_from(&self.restarts, from).is_some_and(|restart| restart <= until)
    }

    pub(super) fn gave_back_between(&self, of: &Delivery<'_>, until: u64) -> bool {
        let times = self.gave_back.get(&(of.client, of.queue));
        times.and_then(|times| first_from(times, of.start)).is_some_and(|time| time <= until)
    }
}

/// The first of sorted times that is not before `from`.
fn first_from(times: &[u64], from: u64) -> Option<u64> {
    times.get(times.partition_point(|time| *time < from)).copied()
}
