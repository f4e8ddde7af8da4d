//! Death: which tasks die, of what, and where they lie.

use std::time::Duration;

use tidegate_core::capabilities::{DeadLetterSupport, DeliveryCount};
use tidegate_core::limits::PAYLOAD_BYTES_MAX;
use tidegate_core::queue::DeadLetterPolicy;
use tidegate_core::task::{REASON_ATTEMPTS_EXHAUSTED, REASON_LEASE_ENDED};
use tidegate_core::{
    DeadFilter, DeadLetter, ErrorKind, Lost, QueueName, QueueSpec, Receiver, RetryPolicy, Settled,
    State, TaskView, Verdict,
};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, dead_letters_in, ensure, ensure_eq, fails_with, now_in,
    refused, retry_at_once,
};

/// The same queue with this many attempts for a task.
pub(super) fn with_attempts(spec: QueueSpec, max_attempts: u32) -> QueueSpec {
    let retry = RetryPolicy { max_attempts, ..spec.retry.clone() };
    QueueSpec { retry, ..spec }
}

/// Receives one task and sends it to the dead letters.
pub(super) async fn kill_one(t: &Trial, rx: &Receiver, reason: &str) -> Result<(), Failure> {
    let lease = t.take_one(rx).await?;
    let verdict = Verdict::DeadLetter { reason: reason.into() };
    ensure_eq!(rx.settle_one(&lease.token, verdict).await?, now_in(State::Dead), "a death");
    Ok(())
}

pub(super) async fn dead_of(t: &Trial, queue: &QueueName) -> Result<Vec<TaskView>, Failure> {
    Ok(t.broker().inspect()?.dead(queue, &DeadFilter::default()).await?)
}

/// The dead letter of the only dead task: as it is listed, or as it is received where the broker
/// shows nothing.
async fn only_dead(t: &Trial, spec: &QueueSpec) -> Result<DeadLetter, Failure> {
    if t.broker().inspect().is_ok() {
        let mut dead = dead_of(t, &spec.name).await?;
        ensure_eq!(dead.len(), 1, "dead tasks");
        return dead
            .pop()
            .and_then(|view| view.dead_letter)
            .ok_or_else(|| Failure::new("a dead task is listed without its reason"));
    }
    let Some(queue) = &spec.dead_letters.queue else {
        return Err(Failure::new("dead tasks can neither be listed nor received"));
    };
    let lease = t.take_one(&t.open(queue).await?).await?;
    lease.task.dead_letter.ok_or_else(|| Failure::new("a dead task came without its reason"))
}

pub(super) async fn a_task_out_of_attempts_dies(t: Trial) -> Proof {
    let spec = with_attempts(t.spec("mail")?, 2);
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(
        rx.settle_one(&lease.token, retry_at_once()).await?,
        now_in(State::Ready),
        "a retry of the first attempt"
    );
    let lease = t.take_one(&rx).await?;
    let retry = Verdict::Retry { after: Duration::ZERO, error: Some("smtp: 550".into()) };
    let settled = rx.settle_one(&lease.token, retry).await?;
    if t.can().deliveries == DeliveryCount::AtLeast {
        ensure_eq!(settled, now_in(State::Ready), "a retry where attempts are not enforced");
        t.take_one(&rx).await?;
        return Ok(Shown::Refused);
    }
    ensure_eq!(settled, now_in(State::Dead), "a retry of the last attempt");
    t.nothing(&rx).await?;
    let dead = only_dead(&t, &spec).await?;
    ensure_eq!(dead.reason, REASON_ATTEMPTS_EXHAUSTED, "the reason");
    ensure_eq!(dead.error.as_deref(), Some("smtp: 550"), "the last error");
    ensure_eq!(dead.attempts, 2, "the attempts");
    Ok(Shown::Honoured)
}

pub(super) async fn a_lease_that_ends_on_the_last_attempt_kills_its_task(t: Trial) -> Proof {
    let spec = with_attempts(t.short_lease("mail", 10)?, 1);
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    t.pass(11).await;
    if t.can().deliveries == DeliveryCount::AtLeast {
        t.take_one(&rx).await?;
        return Ok(Shown::Refused);
    }
    t.nothing(&rx).await?;
    ensure_eq!(only_dead(&t, &spec).await?.reason, REASON_LEASE_ENDED, "the reason");
    let late = rx.complete(&lease).await?;
    ensure_eq!(late, Settled::Lost(Lost::Expired), "a complete of a task that died");
    Ok(Shown::Honoured)
}

pub(super) async fn a_dead_letter_keeps_its_reason_its_error_and_its_attempts(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let retry = Verdict::Retry { after: Duration::ZERO, error: Some("no route".into()) };
    let _ = rx.settle_one(&lease.token, retry).await?;
    kill_one(&t, &rx, "no such user").await?;
    t.nothing(&rx).await?;
    let dead = only_dead(&t, &spec).await?;
    ensure_eq!(dead.source, spec.name, "the queue it died in");
    ensure_eq!(dead.reason, "no such user", "the reason");
    ensure_eq!(dead.error.as_deref(), Some("no route"), "the error of the last failed attempt");
    if t.can().deliveries == DeliveryCount::Counted {
        ensure_eq!(dead.attempts, 2, "the attempts");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn a_dead_task_moves_to_the_queue_its_policy_names(t: Trial) -> Proof {
    let dead_letters = dead_letters_in("mail.failed")?;
    let spec = QueueSpec { dead_letters, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    let sent = t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    t.nothing(&rx).await?;
    let failed = t.open(&crate::trial::named("mail.failed")?).await?;
    let lease = t.take_one(&failed).await?;
    ensure_eq!(Some(lease.task.id), sent.first().map(|sent| sent.id), "the task that moved");
    let source = lease.task.dead_letter.as_ref().map(|dead| (&dead.source, dead.reason.as_str()));
    ensure_eq!(source, Some((&spec.name, "broken")), "where it came from and why");
    if t.can().deliveries == DeliveryCount::Counted {
        ensure_eq!((lease.task.deliveries, lease.task.attempt), (2, 1), "deliveries and attempt");
    }
    ensure_eq!(failed.complete(&lease).await?, DONE, "a complete of a dead letter");
    Ok(Shown::Honoured)
}

pub(super) async fn what_dies_in_a_dead_letter_queue_stays_there(t: Trial) -> Proof {
    if t.can().dead_letters == DeadLetterSupport::Queue {
        let spec = QueueSpec { dead_letters: DeadLetterPolicy::default(), ..t.spec("mail")? };
        return refused(t.broker().declare(&spec).await);
    }
    let spec = QueueSpec { dead_letters: dead_letters_in("mail.failed")?, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    let name = crate::trial::named("mail.failed")?;
    let failed = t.open(&name).await?;
    kill_one(&t, &failed, "still broken").await?;
    t.nothing(&failed).await?;
    let dead = dead_of(&t, &name).await?;
    let reasons: Vec<_> =
        dead.iter().filter_map(|d| Some(d.dead_letter.as_ref()?.reason.as_str())).collect();
    ensure_eq!(reasons, ["still broken"], "reasons of the dead that lie there");
    Ok(Shown::Honoured)
}

pub(super) async fn a_dead_letter_queue_is_made_and_guarded(t: Trial) -> Proof {
    let spec = QueueSpec { dead_letters: dead_letters_in("mail.failed")?, ..t.spec("mail")? };
    let broker = t.broker();
    broker.declare(&spec).await?;
    let name = crate::trial::named("mail.failed")?;
    t.open(&name).await?;
    let chain = QueueSpec { dead_letters: dead_letters_in("mail")?, ..t.spec("sms")? };
    fails_with(broker.declare(&chain).await, ErrorKind::Conflict)?;
    let own = QueueSpec { dead_letters: dead_letters_in("push")?, ..t.spec("push")? };
    fails_with(broker.declare(&own).await, ErrorKind::Invalid)?;
    let Ok(admin) = broker.admin() else {
        return Ok(Shown::Honoured);
    };
    if let Ok(inspect) = broker.inspect() {
        let made = inspect.spec(&name).await?;
        ensure_eq!(made.retention, Some(spec.dead_letters.retention), "its retention");
        ensure_eq!(made.payload_bytes_max, PAYLOAD_BYTES_MAX, "its payload limit");
    }
    fails_with(admin.delete(&name).await, ErrorKind::Conflict)?;
    admin.delete(&spec.name).await?;
    admin.delete(&name).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn dead_letters_are_kept_for_their_retention(t: Trial) -> Proof {
    let mut spec = t.spec("mail")?;
    spec.dead_letters.retention = t.ticks(100);
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    kill_one(&t, &rx, "broken").await?;
    let broker = t.broker();
    if !t.can().retention {
        return refused(broker.inspect().map(|_| ()));
    }
    t.pass(50).await;
    ensure_eq!(dead_of(&t, &spec.name).await?.len(), 1, "dead tasks within the retention");
    t.pass(51).await;
    ensure_eq!(dead_of(&t, &spec.name).await?.len(), 0, "dead tasks after the retention");
    Ok(Shown::Honoured)
}

pub(super) async fn purging_the_dead_tells_how_many(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c"]).await?;
    for reason in ["smtp: 550", "parse", "smtp: 551"] {
        kill_one(&t, &rx, reason).await?;
    }
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return refused(broker.admin().map(|_| ()));
    };
    let filter = DeadFilter { limit: None, reason: Some("smtp".into()) };
    ensure_eq!(admin.purge_dead(&spec.name, &filter).await?, 2, "dead tasks purged by reason");
    let left = dead_of(&t, &spec.name).await?;
    let left: Vec<_> =
        left.iter().filter_map(|d| Some(d.dead_letter.as_ref()?.reason.as_str())).collect();
    ensure_eq!(left, ["parse"], "reasons of the dead that are left");
    let all = DeadFilter::default();
    ensure_eq!(admin.purge_dead(&spec.name, &all).await?, 1, "dead tasks purged");
    ensure!(dead_of(&t, &spec.name).await?.is_empty(), "dead tasks are left after a purge");
    Ok(Shown::Honoured)
}
