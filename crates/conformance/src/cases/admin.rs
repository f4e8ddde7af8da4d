//! Changing queues while they run.

use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{
    Broker, ErrorKind, Lost, Ordering, Partitions, QueueSpec, ReceiveOptions, Router, Settled,
};

use super::dead_letter::{dead_of, kill_one};
use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, begin, ensure, ensure_eq, fails_with, named, refused,
    texts,
};

/// The refusal to change anything.
fn fixed(broker: &Broker) -> Proof {
    refused(broker.admin().map(|_| ()))
}

pub(super) async fn declaring_again_changes_nothing(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    t.broker().declare(&spec).await?;
    t.broker().declare(&QueueSpec { revision: 77, ..spec.clone() }).await?;
    if let Ok(inspect) = t.broker().inspect() {
        ensure_eq!(inspect.spec(&spec.name).await?.revision, 1, "the revision");
    }
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn declaring_another_spec_is_a_conflict(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let longer = QueueSpec { lease: spec.lease / 2, ..spec.clone() };
    fails_with(t.broker().declare(&longer).await, ErrorKind::Conflict)?;
    let labelled = QueueSpec { labels: [("team".into(), "a".into())].into(), ..spec.clone() };
    fails_with(t.broker().declare(&labelled).await, ErrorKind::Conflict)?;
    t.broker().declare(&spec).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn an_update_takes_effect_and_a_stale_one_is_a_conflict(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let broker = t.broker();
    let shorter = QueueSpec { lease: t.ticks(10), ..spec.clone() };
    if broker.admin().is_err() {
        return refused(broker.update(&shorter).await);
    }
    let updated = broker.update(&shorter).await?;
    ensure_eq!(updated.revision, spec.revision + 1, "the revision after an update");
    fails_with(broker.update(&shorter).await, ErrorKind::Conflict)?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(lease.duration, t.ticks(10), "the lease after an update");
    broker.update(&QueueSpec { lease: t.ticks(20), ..updated }).await?;
    fails_with(broker.declare(&spec).await, ErrorKind::Conflict)?;
    let missing = QueueSpec { name: named("missing")?, ..spec };
    fails_with(broker.update(&missing).await, ErrorKind::NotFound)?;
    Ok(Shown::Honoured)
}

pub(super) async fn order_and_partitions_cannot_be_updated(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let broker = t.broker();
    if broker.admin().is_err() {
        return fixed(&broker);
    }
    let partitions = Partitions::new(2).map_err(Failure::new)?;
    for changed in [
        QueueSpec { ordering: Ordering::Key, ..spec.clone() },
        QueueSpec { router: Router::RoundRobin, ..spec.clone() },
        QueueSpec { partitions, ..spec.clone() },
    ] {
        match broker.update(&changed).await {
            Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Unsupported) => {}
            answer => return Err(Failure::new(format!("an update was not refused: {answer:?}"))),
        }
    }
    ensure_eq!(broker.update(&spec).await?.revision, 2, "the revision after refused updates");
    Ok(Shown::Honoured)
}

pub(super) async fn a_purge_leaves_nothing_but_the_dead(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return fixed(&broker);
    };
    t.send(&spec.name, &["dead", "a", "b", "c"]).await?;
    kill_one(&t, &rx, "broken").await?;
    let held = t.take_one(&rx).await?;
    ensure_eq!(admin.purge(&spec.name).await?, 3, "tasks purged");
    t.nothing(&rx).await?;
    let settled = rx.complete(&held).await?;
    ensure_eq!(settled, Settled::Lost(Lost::NotFound), "a complete of a purged task");
    if broker.inspect().is_ok() {
        ensure_eq!(dead_of(&t, &spec.name).await?.len(), 1, "dead tasks after a purge");
    }
    ensure_eq!(admin.purge(&spec.name).await?, 0, "tasks purged a second time");
    t.send(&spec.name, &["after"]).await?;
    ensure_eq!(t.drain(&rx).await?, ["after"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn a_paused_queue_hands_nothing_out(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return fixed(&broker);
    };
    t.send(&spec.name, &["a", "b"]).await?;
    let held = t.take_one(&rx).await?;
    admin.pause(&spec.name, true).await?;
    t.nothing(&rx).await?;
    if let Ok(inspect) = broker.inspect() {
        ensure!(inspect.stats(&spec.name).await?.paused, "stats do not show the pause");
    }
    ensure_eq!(rx.complete(&held).await?, DONE, "a complete while paused");
    t.send(&spec.name, &["c"]).await?;
    t.nothing(&rx).await?;
    admin.pause(&spec.name, false).await?;
    let mut left = texts(&t.take(&rx, 2).await?);
    left.sort();
    ensure!(!left.contains(&text_of(&held)), "the completed task came again: {left:?}");
    Ok(Shown::Honoured)
}

fn text_of(lease: &tidegate_core::Lease) -> String {
    crate::trial::text(lease)
}

pub(super) async fn resuming_wakes_who_waits(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return fixed(&broker);
    };
    admin.pause(&spec.name, true).await?;
    t.send(&spec.name, &["a"]).await?;
    let options = ReceiveOptions::up_to(1).waiting(WAIT_MAX);
    let mut waiting = Box::pin(rx.receive(&options));
    ensure!(begin(&mut waiting).await.is_none(), "a paused queue answered at once");
    admin.pause(&spec.name, false).await?;
    ensure_eq!(texts(&waiting.await?), ["a"], "what woke the receive");
    Ok(Shown::Honoured)
}

pub(super) async fn a_deleted_queue_is_gone(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return fixed(&broker);
    };
    t.send(&spec.name, &["a", "b"]).await?;
    let held = t.take_one(&rx).await?;
    admin.delete(&spec.name).await?;
    let gone = rx.receive(&ReceiveOptions::up_to(1)).await;
    fails_with(gone, ErrorKind::NotFound)?;
    fails_with(broker.enqueue(&spec.name, &[crate::trial::task("c")]).await, ErrorKind::NotFound)?;
    fails_with(admin.delete(&spec.name).await, ErrorKind::NotFound)?;
    let again = t.start(&spec).await?;
    t.nothing(&again).await?;
    let settled = again.complete(&held).await?;
    ensure_eq!(settled, Settled::Lost(Lost::NotFound), "a complete of a task that was deleted");
    Ok(Shown::Honoured)
}
