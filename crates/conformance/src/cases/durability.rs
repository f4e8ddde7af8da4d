//! Durability: what was acknowledged before the end is there after it.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::capabilities::{Delay, DeliveryCount, OrderingSupport};
use tidegate_core::{ErrorKind, NewTask, QueueSpec, ReceiveOptions, Settled, Unique, Verdict};

use super::dead_letter::kill_one;
use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, dead_letters_in, ensure, ensure_eq, fails_with, named,
    refused, task, text, texts, timed,
};

/// Restarts the broker. `false` if it is of a kind that promises nothing beyond its end.
async fn restarted(t: &Trial) -> Result<bool, Failure> {
    if !t.can().durable {
        return Ok(false);
    }
    let again = t.restart().await;
    ensure!(again.is_some(), "the broker declares to be durable and cannot be restarted here");
    Ok(true)
}

pub(super) async fn an_acknowledged_enqueue_survives(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let sent = NewTask::new("bytes", vec![0, 159, 255]).header("tenant", "Köln");
    let enqueued = t.send_all(&spec.name, std::slice::from_ref(&sent)).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let got = t.take_one(&t.open(&spec.name).await?).await?.task;
    ensure_eq!(got.id, sent.id, "the id after a restart");
    ensure_eq!(got.payload, sent.payload, "the payload after a restart");
    ensure_eq!(got.headers, sent.headers, "the headers after a restart");
    let sequence = enqueued.first().map(|sent| sent.sequence);
    ensure_eq!(Some(got.sequence), sequence, "the sequence after a restart");
    let later = t.send(&spec.name, &["later"]).await?;
    let grows = later.iter().all(|sent| sent.sequence > got.sequence);
    ensure!(grows, "a sequence was used again after the restart: {later:?}");
    Ok(Shown::Honoured)
}

pub(super) async fn a_completed_task_stays_completed(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["done"]).await?;
    t.drain(&rx).await?;
    t.send(&spec.name, &["open"]).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let drained = t.drain(&t.open(&spec.name).await?).await?;
    ensure_eq!(drained, ["open"], "tasks after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn a_leased_task_of_the_process_returns_at_once(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 60)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    t.take_one(&rx).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    if timed(&t.can()) && !t.in_process() {
        t.pass(61).await;
    }
    t.take_one(&t.open(&spec.name).await?).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_leased_task_of_a_client_gets_one_full_length(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 60)?;
    t.broker().declare(&spec).await?;
    let rx = t.open_for_client(&spec.name).await?;
    t.send(&spec.name, &["a"]).await?;
    let first = t.take_one(&rx).await?;
    t.pass(30).await;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let rx = t.open_for_client(&spec.name).await?;
    if !timed(&t.can()) {
        t.take_one(&rx).await?;
        return Ok(Shown::Refused);
    }
    if t.nothing_before(&rx, |_| first.until).await? {
        ensure!(!t.in_process(), "a client that comes back has lost its lease");
        return Ok(Shown::Honoured);
    }
    if t.in_process() {
        t.pass(50).await;
        t.nothing(&rx).await?;
        t.pass(11).await;
    } else {
        t.pass(61).await;
    }
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn attempts_and_errors_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let retry = Verdict::Retry { after: Duration::ZERO, error: Some("smtp: 451".into()) };
    let _ = rx.settle_one(&lease.token, retry).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let task = t.take_one(&t.open(&spec.name).await?).await?.task;
    if t.can().deliveries == DeliveryCount::AtLeast {
        ensure!(task.deliveries >= 1, "a count below 1: {task:?}");
        return Ok(Shown::Refused);
    }
    ensure_eq!((task.deliveries, task.attempt), (2, 2), "deliveries and attempt after a restart");
    ensure_eq!(task.last_error.as_deref(), Some("smtp: 451"), "the error after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn a_token_survives_as_declared(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.broker().declare(&spec).await?;
    let rx = t.open_for_client(&spec.name).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let rx = t.open(&spec.name).await?;
    let settled = rx.settle_one(&lease.token, Verdict::Complete).await;
    if timed(&t.can()) {
        ensure_eq!(settled?, DONE, "a complete after a restart");
        t.nothing(&rx).await?;
        return Ok(Shown::Honoured);
    }
    match settled {
        Ok(Settled::Lost(_)) => {}
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        answer => return Err(Failure::new(format!("a bound token was taken: {answer:?}"))),
    }
    t.take_one(&rx).await?;
    Ok(Shown::Refused)
}

pub(super) async fn dedup_keys_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let unique = |text| task(text).dedup("k", Unique::Window(t.ticks(500)));
    if t.can().dedup_window_max.is_none() {
        return refused(t.broker().enqueue_one(&spec.name, unique("first")).await);
    }
    let first = t.send_all(&spec.name, &[unique("first")]).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let second = t.send_all(&spec.name, &[unique("second")]).await?;
    ensure!(second.iter().all(|sent| sent.deduplicated), "the key was forgotten");
    let ids = |sent: &[tidegate_core::Enqueued]| -> Vec<_> { sent.iter().map(|s| s.id).collect() };
    ensure_eq!(ids(&second), ids(&first), "the id that answers after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn delays_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let delay = t.ticks(60);
    let delayed = task("a").delay(delay);
    if t.can().delay == Delay::No {
        return refused(t.broker().enqueue_one(&spec.name, delayed).await);
    }
    t.send_all(&spec.name, &[delayed]).await?;
    t.pass(30).await;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let rx = t.open(&spec.name).await?;
    if !t.nothing_before(&rx, |lease| lease.task.enqueued_at.plus(delay)).await? {
        t.pass(31).await;
        t.take_one(&rx).await?;
    }
    Ok(Shown::Honoured)
}

pub(super) async fn dead_letters_survive(t: Trial) -> Proof {
    let spec = QueueSpec { dead_letters: dead_letters_in("mail.failed")?, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    t.nothing(&t.open(&spec.name).await?).await?;
    let lease = t.take_one(&t.open(&named("mail.failed")?).await?).await?;
    let reason = lease.task.dead_letter.map(|dead| dead.reason);
    ensure_eq!(reason.as_deref(), Some("broken"), "the reason after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn order_survives(t: Trial) -> Proof {
    let spec = t.ordered("mail")?;
    if t.can().ordering == OrderingSupport::No {
        return refused(t.broker().declare(&spec).await);
    }
    let rx = t.start(&spec).await?;
    let keyed = |text| task(text).ordering_key("k");
    t.send_all(&spec.name, &["a", "b", "c"].map(keyed)).await?;
    let first = t.take_one(&rx).await?;
    let retry = Verdict::Retry { after: Duration::ZERO, error: None };
    let _ = rx.settle_one(&first.token, retry).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let rx = t.open(&spec.name).await?;
    ensure_eq!(t.drain(&rx).await?, ["a", "b", "c"], "the order after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn specs_revisions_and_pauses_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let changed = QueueSpec { lease: spec.lease / 2, ..spec.clone() };
    let mut kept = spec.clone();
    if t.broker().admin().is_ok() {
        kept = t.broker().update(&changed).await?;
        t.broker().admin()?.pause(&spec.name, true).await?;
    }
    t.send(&spec.name, &["a"]).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    let broker = t.broker();
    broker.declare(&kept).await?;
    let other = QueueSpec { lease: spec.lease / 3, ..spec.clone() };
    fails_with(broker.declare(&other).await, ErrorKind::Conflict)?;
    let rx = t.open(&spec.name).await?;
    let Ok(admin) = broker.admin() else {
        ensure_eq!(text(&t.take_one(&rx).await?), "a", "the task after a restart");
        return refused(broker.admin().map(|_| ()));
    };
    fails_with(broker.update(&changed).await, ErrorKind::Conflict)?;
    t.nothing(&rx).await?;
    admin.pause(&spec.name, false).await?;
    ensure_eq!(text(&t.take_one(&rx).await?), "a", "the task after a restart");
    Ok(Shown::Honoured)
}

pub(super) async fn fences_never_repeat(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 60)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c"]).await?;
    let before = t.take(&rx, 3).await?;
    if !restarted(&t).await? {
        return Ok(Shown::Refused);
    }
    t.pass(61).await;
    let rx = t.open(&spec.name).await?;
    let after = t.take_with(&rx, &ReceiveOptions::up_to(3)).await?;
    let both = before.iter().chain(&after);
    let tokens: BTreeSet<_> = both.map(|lease| lease.token.as_bytes()).collect();
    ensure_eq!(tokens.len(), 6, "tokens of six deliveries: {:?}", texts(&after));
    for lease in &before {
        match rx.complete(lease).await {
            Ok(Settled::Lost(_)) => {}
            Err(error) if error.kind() == ErrorKind::Invalid && !timed(&t.can()) => {}
            answer => return Err(Failure::new(format!("a stale token was taken: {answer:?}"))),
        }
    }
    for lease in &after {
        ensure_eq!(rx.complete(lease).await?, DONE, "a complete with the newest token");
    }
    Ok(Shown::Honoured)
}
