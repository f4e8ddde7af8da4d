//! The audit: the input against the journal against what is left in the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use tidegate::{Capacity, QueueStats, TaskView};

use super::flights::{Expected, Fate};
use super::journal::{Entry, Event, Verdict};
use super::{KILLED, order};
use crate::views::dead_letter;

/// All that is known after the demo.
pub(super) struct Evidence {
    /// The journal of all processes.
    pub(super) entries: Vec<Entry>,
    pub(super) remains: Remains,
    /// From the start to the kill, if there was one.
    pub(super) killed: Option<Duration>,
    /// From the start until nothing was left to do.
    pub(super) elapsed: Duration,
}

/// What the queue holds at the end, as the auditor saw it.
pub(super) struct Remains {
    pub(super) stats: QueueStats,
    pub(super) dead: Vec<TaskView>,
    pub(super) capacity: Capacity,
}

/// The account, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Numbers {
    pub(super) input: u64,
    /// Flights whose task the broker acknowledged.
    pub(super) sent: u64,
    /// Sends whose answer was lost at the kill, and which were made again.
    pub(super) unanswered: u64,
    /// Of those, how many the queue knew already.
    pub(super) deduplicated: u64,
    /// How often the producer found the queue full and waited.
    pub(super) waited_for_room: u64,
    pub(super) capacity: u64,
    pub(super) completed: u64,
    /// Of the completed, those that arrived with a known delay.
    pub(super) with_delay: u64,
    /// Of the completed, those whose arrival was not recorded.
    pub(super) unknown: u64,
    /// Attempts that failed and were tried again.
    pub(super) retried: u64,
    pub(super) dead: u64,
    /// Tasks in the hands of the killed process: its worker's and its consumer's.
    pub(super) in_hand_at_the_kill: u64,
    /// Of those, tasks that were handed out again after it.
    pub(super) redelivered_after_the_kill: u64,
    /// Flights that were worked out twice: at-least-once.
    pub(super) effects_repeated: u64,
    /// Old acknowledgements that were presented after the kill.
    pub(super) stale_presented: u64,
    /// Of those, how many while the task was in other hands.
    pub(super) stale_in_other_hands: u64,
    pub(super) stale_accepted: u64,
    /// Flights that were sent and are neither completed nor dead.
    pub(super) lost: u64,
    /// Tasks in the queue that are not dead.
    pub(super) left: u64,
    pub(super) aircraft: u64,
    pub(super) aircraft_out_of_order: u64,
    pub(super) tasks_per_second: u64,
    pub(super) killed_after_ms: Option<u64>,
    pub(super) elapsed_ms: u64,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) holds: bool,
}

/// What the audit found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Account {
    pub(super) numbers: Numbers,
    pub(super) checks: Vec<Check>,
}

impl Account {
    /// Whether all that must hold does.
    pub(super) fn balances(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

/// Compares what must have happened with what did.
pub(super) fn audit(expected: &Expected, evidence: &Evidence) -> Account {
    let story = Story::read(&evidence.entries);
    let dead = lines_of_dead(&evidence.remains.dead);
    let completed: BTreeMap<u32, Fate> = story
        .found
        .iter()
        .filter(|(line, fate)| **fate != Fate::Cancelled && !dead.contains(line))
        .map(|(line, fate)| (*line, *fate))
        .collect();
    let numbers = numbers(expected, evidence, &story, &completed, &dead);
    let checks = checks(expected, evidence, &numbers, &completed, &dead);
    Account { numbers, checks }
}

/// The journal, folded.
#[derive(Default)]
struct Story {
    sent: BTreeSet<u32>,
    unanswered: u64,
    deduplicated: u64,
    full: u64,
    found: BTreeMap<u32, Fate>,
    times_found: BTreeMap<u32, u64>,
    retried: u64,
    /// What the killed process had been handed and not settled.
    in_hand: BTreeSet<u32>,
    /// Of what was ever in hand, what another process was handed later.
    handed_on: BTreeSet<u32>,
    stale: u64,
    stale_in_other_hands: u64,
    stale_accepted: u64,
}

impl Story {
    fn read(entries: &[Entry]) -> Self {
        let mut story = Self::default();
        for entry in entries {
            story.take(entry);
        }
        story
    }

    fn take(&mut self, entry: &Entry) {
        let by_the_killed = entry.process == KILLED;
        match &entry.event {
            Event::Sent { line, deduplicated } => {
                self.sent.insert(*line);
                self.deduplicated += u64::from(*deduplicated);
            }
            Event::Full { .. } => self.full += 1,
            Event::Unanswered { tasks } => self.unanswered += *tasks as u64,
            Event::Ready | Event::SentAll => {}
            Event::Started { line, .. } | Event::Hung { line, .. } if by_the_killed => {
                self.in_hand.insert(*line);
                self.handed_on.remove(line);
            }
            Event::Started { line, .. } | Event::Hung { line, .. } => {
                self.handed_on.insert(*line);
            }
            Event::Found { line, fate } => {
                self.found.insert(*line, *fate);
                *self.times_found.entry(*line).or_default() += 1;
            }
            Event::Settled { line, verdict, accepted } => {
                if by_the_killed {
                    self.in_hand.remove(line);
                }
                self.retried += u64::from(*verdict == Verdict::Retry && *accepted);
            }
            Event::Stale { in_other_hands, accepted, .. } => {
                self.stale += 1;
                self.stale_in_other_hands += u64::from(*in_other_hands);
                self.stale_accepted += u64::from(*accepted);
            }
        }
    }
}

fn lines_of_dead(dead: &[TaskView]) -> BTreeSet<u32> {
    let line = |view: &TaskView| view.task.headers.get("line")?.parse().ok();
    dead.iter().filter_map(line).collect()
}

fn numbers(
    expected: &Expected,
    evidence: &Evidence,
    story: &Story,
    completed: &BTreeMap<u32, Fate>,
    dead: &BTreeSet<u32>,
) -> Numbers {
    let unknown = completed.values().filter(|fate| **fate == Fate::Unknown).count() as u64;
    let aircraft: BTreeSet<&String> =
        expected.flights.values().filter_map(|(aircraft, _)| aircraft.as_ref()).collect();
    let broken: BTreeSet<String> = order::broken(expected, &evidence.entries).into_iter().collect();
    let finished = |line: &u32| completed.contains_key(line) || dead.contains(line);
    let done = (completed.len() + evidence.remains.dead.len()) as u64;
    let again = story.in_hand.intersection(&story.handed_on);
    Numbers {
        input: expected.flights.len() as u64,
        sent: story.sent.len() as u64,
        unanswered: story.unanswered,
        deduplicated: story.deduplicated,
        waited_for_room: story.full,
        capacity: match evidence.remains.capacity {
            Capacity::Bounded(most) => most,
            Capacity::Unbounded => u64::MAX,
        },
        completed: completed.len() as u64,
        with_delay: completed.len() as u64 - unknown,
        unknown,
        retried: story.retried,
        dead: evidence.remains.dead.len() as u64,
        in_hand_at_the_kill: story.in_hand.len() as u64,
        redelivered_after_the_kill: again.count() as u64,
        effects_repeated: story.times_found.values().filter(|times| **times > 1).count() as u64,
        stale_presented: story.stale,
        stale_in_other_hands: story.stale_in_other_hands,
        stale_accepted: story.stale_accepted,
        lost: story.sent.iter().filter(|line| !finished(line)).count() as u64,
        left: evidence.remains.stats.live(),
        aircraft: aircraft.len() as u64,
        aircraft_out_of_order: broken.len() as u64,
        tasks_per_second: (done as f64 / evidence.elapsed.as_secs_f64()) as u64,
        killed_after_ms: evidence.killed.map(|killed| killed.as_millis() as u64),
        elapsed_ms: evidence.elapsed.as_millis() as u64,
    }
}

fn checks(
    expected: &Expected,
    evidence: &Evidence,
    numbers: &Numbers,
    completed: &BTreeMap<u32, Fate>,
    dead: &BTreeSet<u32>,
) -> Vec<Check> {
    let of = |wanted: fn(&Fate) -> bool| -> BTreeMap<u32, Fate> {
        let flights = expected.flights.iter().filter(|(_, (_, fate))| wanted(fate));
        flights.map(|(line, (_, fate))| (*line, *fate)).collect()
    };
    let cancelled = of(|fate| *fate == Fate::Cancelled);
    let reasons = evidence.remains.dead.iter().filter_map(dead_letter);
    let cancelled_for_a_reason =
        reasons.filter(|dead| dead.reason.starts_with("cancelled")).count();
    let check = |check, holds| Check { check, holds };
    let mut checks = vec![
        check("every flight was sent", numbers.sent == numbers.input),
        check("sent = completed + dead", numbers.sent == numbers.completed + numbers.dead),
        check("nothing was lost", numbers.lost == 0),
        check("nothing is left in the queue", numbers.left == 0),
        check(
            "every result is that of the input",
            *completed == of(|fate| *fate != Fate::Cancelled),
        ),
        check(
            "the dead are the cancelled flights",
            cancelled.keys().copied().eq(dead.iter().copied()),
        ),
        check("each with its reason", cancelled_for_a_reason == cancelled.len()),
        check("every aircraft's order was kept", numbers.aircraft_out_of_order == 0),
        check("the producer met a full queue and waited", numbers.waited_for_room > 0),
        check("failed attempts were tried again", numbers.retried > 0),
    ];
    if evidence.killed.is_some() {
        checks.extend([
            check(
                "what was in hand at the kill came again",
                numbers.redelivered_after_the_kill > 0,
            ),
            check(
                "old acknowledgements were presented, while others had the task too",
                numbers.stale_in_other_hands > 0,
            ),
            check("none of them was accepted", numbers.stale_accepted == 0),
        ]);
    }
    checks
}

#[cfg(test)]
mod tests;
