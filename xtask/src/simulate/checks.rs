//! What must hold, beside what the history checker judges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_conformance::history::{Event, Finding, Judgement, Outcome, What, check};
use tidegate_core::{Broker, ErrorKind, Inspect, ListOptions, Result, TaskView};
use tidegate_engine::Durability;

use super::book::{Book, Issued, name};
use super::run::World;
use super::scenario::{GRAVES, MOVING, ORDERED, queue};

/// Findings of one history that are told at most.
const TOLD_MAX: usize = 6;

/// The promise that a run's settings leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Nothing acknowledged is lost.
    All,
    /// What is left is a prefix of what was done, and at least all up to the last sync.
    Prefix,
    /// What is there is right.
    Right,
}

impl Promise {
    fn of(world: &World) -> Self {
        let tally = world.machine.tally();
        // WHY: where an answer does not wait for the sync, one that fails takes back what a power
        // cut would have taken.
        let cut = tally.power_cuts + tally.syncs_failed > 0;
        match world.scenario.durability {
            _ if !cut => Self::All,
            _ if world.scenario.lies() => Self::Right,
            Durability::Always => Self::All,
            Durability::Interval(_) => Self::Prefix,
            Durability::Never => Self::Right,
        }
    }
}

/// While a process holds the directory, another one is told so.
pub(crate) fn a_second_open_is_refused(world: &World) {
    match world.machine.start_beside(&world.options()) {
        Err(error) if error.kind() == ErrorKind::Locked => {}
        _ if !world.machine.is_running() || world.may_fail() => {}
        Err(error) => world.book.violation(format_args!("a second process is told {error:?}")),
        Ok(()) => world.book.violation("a second process opened the directory"),
    }
}

/// What must be there when a process has opened the engine.
pub(crate) fn after_open(world: &World, broker: Broker) -> impl Future<Output = ()> + use<> {
    let (promise, book) = (Promise::of(world), world.book.clone());
    let (may_fail, lies) = (world.may_fail(), world.scenario.lies());
    async move {
        let looked = match promise {
            Promise::Right => {
                book.forget_promises(lies);
                Ok(())
            }
            Promise::All | Promise::Prefix => look(&book, &broker, promise).await,
        };
        if let Err(error) = looked
            && book.machine.is_running()
            && !(may_fail && error.kind() == ErrorKind::Poisoned)
        {
            book.violation(format_args!("after the open: {error:?}"));
        }
    }
}

async fn look(book: &Arc<Book>, broker: &Broker, promise: Promise) -> Result<()> {
    let inspect = broker.inspect()?;
    let there: BTreeSet<String> =
        inspect.queues().await?.into_iter().map(|name| name.to_string()).collect();
    let declared = book.pages().declared.clone();
    if promise == Promise::Prefix {
        book.pages().paused.clear();
    } else {
        for missing in declared.difference(&there) {
            book.violation(format_args!("the queue {missing:?} was acknowledged and is not there"));
        }
    }
    let mut present = BTreeSet::new();
    for to in [ORDERED, MOVING, GRAVES].into_iter().filter(|to| there.contains(*to)) {
        present.extend(list(inspect.as_ref(), to).await?.iter().map(|view| name(view.task.id)));
    }
    if !book.machine.is_running() {
        // WHY: what cannot be read is listed as damaged, and now nothing can be.
        return Ok(());
    }
    let issued = std::mem::take(&mut book.pages().issued);
    let delivered = delivered(book);
    let damaged = book.pages().damaged.clone();
    let known: Vec<(&Issued, bool)> = issued
        .iter()
        .filter(|issued| !delivered.contains(&issued.id) && !damaged.contains(&issued.id))
        .map(|issued| (issued, present.contains(&issued.id)))
        .collect();
    no_holes(book, &known);
    let synced = known.iter().find(|(issued, there)| issued.synced && !there);
    if let Some((issued, _)) = synced {
        book.violation(format_args!("{} was acknowledged and synced and is not there", issued.id));
    }
    Ok(())
}

/// Tasks that were handed out: what has become of them only the history knows.
fn delivered(book: &Book) -> BTreeSet<String> {
    let pages = book.pages();
    let received = pages.events.iter().filter_map(|event| match &event.what {
        What::Received { id, .. } => Some(id.clone()),
        _ => None,
    });
    received.collect()
}

/// What is there is a prefix of what was sent, and batches are there whole.
fn no_holes(book: &Book, known: &[(&Issued, bool)]) {
    let missing = known.iter().find(|(_, there)| !there);
    let after = known.iter().skip_while(|(_, there)| *there).find(|(_, there)| *there);
    if let (Some((missing, _)), Some((after, _))) = (missing, after) {
        let why = format!("a hole: {} is not there, and {}, sent later, is", missing.id, after.id);
        book.violation(why);
    }
    let mut batches: BTreeMap<u64, bool> = BTreeMap::new();
    for (issued, there) in known {
        if *batches.entry(issued.batch).or_insert(*there) != *there {
            book.violation(format_args!("half a batch: that of {}", issued.id));
        }
    }
}

async fn list(inspect: &dyn Inspect, to: &str) -> Result<Vec<TaskView>> {
    let options = ListOptions { state: None, after: None, limit: 100_000 };
    inspect.list(&queue(to)?, &options).await
}

/// Puts the whole history to the checker.
pub(crate) fn judge(world: &World) {
    let promise = Promise::of(world);
    let events = with_witnesses(&world.book);
    // WHY: a task that cannot be read for a moment dies of it, which nobody is told, nor that it
    // lets go of its dedup key.
    let unread = world.scenario.faults.errors > 0;
    let counts = |judgement: Judgement| match promise {
        _ if unread && judgement == Judgement::DedupEscape => false,
        Promise::All => judgement.is_invalid(),
        Promise::Prefix | Promise::Right => judgement == Judgement::Unexpected,
    };
    if promise == Promise::All {
        what_was_purged_stays_away(&world.book, &events);
    }
    let findings = check(&events);
    let (is_damaged, damaged) = {
        let pages = world.book.pages();
        (pages.is_damaged, pages.damaged.clone())
    };
    // WHY: beside a task that a flipped bit undid something of, others may rightly be out of order.
    let touched = |finding: &Finding| {
        let of_others = [
            Judgement::FifoInversion,
            Judgement::DedupEscape,
            Judgement::LeaseOverlap,
            Judgement::Early,
        ];
        is_damaged && (damaged.contains(&finding.about) || of_others.contains(&finding.judgement))
    };
    let found = findings.found.iter().filter(|finding| counts(finding.judgement));
    let cuts_us = world.book.pages().cuts_us.clone();
    let forgotten = |finding: &Finding| {
        finding.judgement == Judgement::StaleAccept && was_forgotten(finding, &events, &cuts_us)
    };
    let found = found.filter(|finding| !touched(finding) && !forgotten(finding));
    found.take(TOLD_MAX).for_each(|finding| world.book.violation(finding));
}

/// Whether a power cut came between a delivery of the task and a settle or extend that was carried
/// out: it may have taken the record of the delivery, and an older token was the newest then.
fn was_forgotten(finding: &Finding, events: &[Event], cuts_us: &[u64]) -> bool {
    let of_task = |event: &&Event, id: &str| event.outcome == Outcome::Ok && id == finding.about;
    let handed_out = events.iter().filter(|event| match &event.what {
        What::Received { id, .. } => of_task(event, id),
        _ => false,
    });
    let first_us = handed_out.map(|event| event.end_us).min().unwrap_or(u64::MAX);
    let decided = events.iter().filter(|event| match &event.what {
        What::Settled { id, .. } | What::Extended { id, .. } => of_task(event, id),
        _ => false,
    });
    let last_us = decided.map(|event| event.start_us).max().unwrap_or(0);
    cuts_us.iter().any(|cut_us| (first_us..last_us).contains(cut_us))
}

/// A task that was acknowledged before a purge began is not handed out after the purge was
/// acknowledged. Whoever purges here does not redrive.
fn what_was_purged_stays_away(book: &Book, events: &[Event]) {
    let done = |event: &&Event| event.outcome == Outcome::Ok;
    for purge in events.iter().filter(done) {
        let What::Purged { queue: purged } = &purge.what else { continue };
        let before = events.iter().filter(done).filter(|event| event.end_us <= purge.start_us);
        let ids: BTreeSet<&str> = before
            .filter_map(|event| match &event.what {
                What::Enqueued { queue, id, .. } if queue == purged => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let after = events.iter().filter(done).filter(|event| event.start_us >= purge.end_us);
        for event in after {
            if let What::Received { queue, id, .. } = &event.what
                && queue == purged
                && ids.contains(id.as_str())
            {
                book.violation(format_args!("{id} was purged and handed out again"));
            }
        }
    }
}

/// The history, with the sends whose tasks somebody saw as what they are: carried out for good.
fn with_witnesses(book: &Book) -> Vec<Event> {
    let mut pages = book.pages();
    let mut events = std::mem::take(&mut pages.events);
    for event in &mut events {
        if event.outcome == Outcome::Unknown
            && let What::Enqueued { id, .. } = &event.what
            && let Some(seen_us) = pages.witnessed.get(id)
        {
            event.outcome = Outcome::Ok;
            event.end_us = event.end_us.min(*seen_us);
        }
    }
    events
}
