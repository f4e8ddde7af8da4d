//! Redriving: the dead get another life.

use tidegate_core::capabilities::{CapacitySupport, DeadLetterSupport, OrderingSupport};
use tidegate_core::{
    Capacity, DeadFilter, ErrorKind, QueueSpec, Unique,
};

use tidegate_core::queue::DeadLetterPolicy;

use super::dead_letter::{dead_of, kill_one};
use crate::trial::{
    Failure, Proof, Shown, Trial, dead_letters_in, ensure, ensure_eq, fails_with, named, refused,
    retry_at_once, task, texts,
};

const ALL: DeadFilter = DeadFilter { limit: None, reason: None };

/// Whether this broker refuses to redrive, shown.
fn no_admin(t: &Trial) -> Proof {
    refused(t.broker().admin().map(|_| ()))
}

/// A queue whose dead stay in it, where that is possible.
fn keeping_its_dead(t: &Trial) -> Result<QueueSpec, Failure> {
    match t.can().dead_letters {
        DeadLetterSupport::StateOrQueue => {
            Ok(QueueSpec { dead_letters: DeadLetterPolicy::default(), ..t.spec("mail")? })
        }
        DeadLetterSupport::Queue => t.spec("mail"),
    }
}

async fn redrive(t: &Trial, spec: &QueueSpec, filter: &DeadFilter) -> Result<u64, Failure> {
    Ok(t.broker().admin()?.redrive(&spec.name, filter).await?)
}

pub(super) async fn attempts_start_again(t: Trial) -> Proof {
    let spec = super::dead_letter::with_attempts(keeping_its_dead(&t)?, 2);
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    for _ in 0..2 {
        let lease = t.take_one(&rx).await?;
        let _ = rx.settle_one(&lease.token, retry_at_once()).await?;
    }
    t.nothing(&rx).await?;
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 1, "tasks redriven");
    ensure_eq!(dead_of(&t, &spec.name).await?.len(), 0, "tasks that are still dead");
    let task = t.take_one(&rx).await?.task;
    ensure_eq!((task.deliveries, task.attempt), (3, 1), "deliveries and attempt");
    ensure_eq!(task.dead_letter, None, "the dead letter of a task that lives again");
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 0, "tasks redriven a second time");
    Ok(Shown::Honoured)
}

pub(super) async fn the_oldest_dead_go_first_up_to_the_limit(t: Trial) -> Proof {
    let spec = keeping_its_dead(&t)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c"]).await?;
    let leases = t.take(&rx, 3).await?;
    for lease in leases.iter().rev() {
        let verdict = tidegate_core::Verdict::DeadLetter { reason: "broken".into() };
        let _ = rx.settle_one(&lease.token, verdict).await?;
        t.pass(1).await;
    }
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    let mut by_death: Vec<_> = leases.iter().map(|lease| lease.task.id).collect();
    by_death.reverse();
    let listed: Vec<_> = dead_of(&t, &spec.name).await?.iter().map(|d| d.task.id).collect();
    ensure_eq!(listed, by_death, "the dead, oldest first");
    let two = DeadFilter { limit: Some(2), reason: None };
    ensure_eq!(redrive(&t, &spec, &two).await?, 2, "tasks redriven");
    let mut back: Vec<_> = t.take(&rx, 2).await?.iter().map(|lease| lease.task.id).collect();
    let mut oldest: Vec<_> = by_death.into_iter().take(2).collect();
    // WHY: they entered the queue at one time, and then the sequence decides.
    back.sort_unstable();
    oldest.sort_unstable();
    ensure_eq!(back, oldest, "the oldest two");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn only_the_reasons_asked_for_are_taken(t: Trial) -> Proof {
    let spec = keeping_its_dead(&t)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    kill_one(&t, &rx, "parse").await?;
    kill_one(&t, &rx, "smtp: 550").await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    let smtp = DeadFilter { limit: None, reason: Some("smtp".into()) };
    ensure_eq!(redrive(&t, &spec, &smtp).await?, 1, "tasks redriven by reason");
    t.take_one(&rx).await?;
    let left = dead_of(&t, &spec.name).await?;
    let left: Vec<_> =
        left.iter().filter_map(|d| Some(d.dead_letter.as_ref()?.reason.as_str())).collect();
    ensure_eq!(left, ["parse"], "reasons of those that are still dead");
    Ok(Shown::Honoured)
}

pub(super) async fn a_redriven_task_joins_the_tail(t: Trial) -> Proof {
    if t.can().ordering == OrderingSupport::No {
        return refused(t.broker().declare(&t.ordered("mail")?).await);
    }
    let spec = t.ordered("mail")?;
    let rx = t.start(&spec).await?;
    let keyed = |text| task(text).ordering_key("k");
    t.send_all(&spec.name, &[keyed("a"), keyed("b")]).await?;
    kill_one(&t, &rx, "broken").await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    t.pass(1).await;
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 1, "tasks redriven");
    ensure_eq!(t.drain(&rx).await?, ["b", "a"], "the order after a redrive");
    Ok(Shown::Honoured)
}

pub(super) async fn a_redriven_task_does_not_take_its_dedup_key_back(t: Trial) -> Proof {
    let spec = keeping_its_dead(&t)?;
    let rx = t.start(&spec).await?;
    let unique = |text| task(text).dedup("k", Unique::UntilDone);
    if !t.can().dedup_until_done {
        return refused(t.broker().enqueue_one(&spec.name, unique("a")).await);
    }
    t.send_all(&spec.name, &[unique("a")]).await?;
    kill_one(&t, &rx, "broken").await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    redrive(&t, &spec, &ALL).await?;
    let second = t.send_all(&spec.name, &[unique("b")]).await?;
    ensure!(second.iter().all(|sent| !sent.deduplicated), "the redriven task holds its key again");
    let mut both = texts(&t.take(&rx, 2).await?);
    both.sort();
    ensure_eq!(both, ["a", "b"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn the_dead_come_back_from_a_named_queue(t: Trial) -> Proof {
    let spec = QueueSpec { dead_letters: dead_letters_in("mail.failed")?, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    let failed = named("mail.failed")?;
    let dead = dead_of(&t, &spec.name).await?;
    let lies_in: Vec<_> = dead.iter().map(|dead| &dead.task.queue).collect();
    ensure_eq!(lies_in, [&failed], "where the dead of the queue lie");
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 1, "tasks redriven");
    let back = t.take_one(&rx).await?.task;
    ensure_eq!((back.queue, back.dead_letter), (spec.name, None), "its queue and dead letter");
    t.nothing(&t.open(&failed).await?).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_dead_task_in_a_workers_hands_stays_there(t: Trial) -> Proof {
    let spec = QueueSpec { dead_letters: dead_letters_in("mail.failed")?, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    let failed = t.open(&named("mail.failed")?).await?;
    let held = t.take_one(&failed).await?;
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 0, "tasks redriven out of a worker's hands");
    let purged = t.broker().admin()?.purge_dead(&spec.name, &ALL).await?;
    ensure_eq!(purged, 0, "dead tasks purged out of a worker's hands");
    ensure_eq!(failed.complete(&held).await?, crate::trial::DONE, "a complete of a dead letter");
    Ok(Shown::Honoured)
}

pub(super) async fn the_dead_are_admitted_to_a_full_queue(t: Trial) -> Proof {
    let spec = QueueSpec { capacity: Capacity::Bounded(1), ..keeping_its_dead(&t)? };
    if t.can().capacity == CapacitySupport::No {
        return refused(t.broker().declare(&spec).await);
    }
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    t.send(&spec.name, &["b"]).await?;
    if t.broker().admin().is_err() {
        return no_admin(&t);
    }
    ensure_eq!(redrive(&t, &spec, &ALL).await?, 1, "tasks redriven into a full queue");
    if t.can().capacity == CapacitySupport::Exact {
        fails_with(t.broker().enqueue_one(&spec.name, task("c")).await, ErrorKind::QueueFull)?;
    }
    t.take(&rx, 2).await?;
    Ok(Shown::Honoured)
}
