//! Order: the tasks of one key come one after another, whatever happens to the first.

use std::time::Duration;

use tidegate_core::capabilities::{Delay, OrderingSupport};
use tidegate_core::{
    ErrorKind, NewTask, Partitions, QueueSpec, ReceiveOptions, Receiver, Router, State, Verdict,
};

use super::dead_letter::kill_one;
use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, now_in, refused,
    release_at_once, retry_at_once, task, text, texts,
};

fn keyed(text: &str) -> NewTask {
    // WHY: the first letter is the key, so that "a1" and "a2" read as one line.
    task(text).ordering_key(text.get(..1).unwrap_or("k"))
}

/// An ordered queue with these tasks in it, or `None` once the broker has refused to order.
async fn ordered(t: &Trial, spec: &QueueSpec, sent: &[&str]) -> Result<Option<Receiver>, Failure> {
    if t.can().ordering == OrderingSupport::No {
        refused(t.broker().declare(spec).await)?;
        return Ok(None);
    }
    let rx = t.start(spec).await?;
    let tasks: Vec<NewTask> = sent.iter().map(|text| keyed(text)).collect();
    t.send_all(&spec.name, &tasks).await?;
    Ok(Some(rx))
}

pub(super) async fn tasks_of_one_key_come_in_order_one_at_a_time(t: Trial) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2", "a3"]).await? else {
        return Ok(Shown::Refused);
    };
    for expected in ["a1", "a2", "a3"] {
        let lease = t.take_one(&rx).await?;
        ensure_eq!(text(&lease), expected, "the next task of the key");
        t.nothing(&rx).await?;
        t.nothing(&t.open(&rx.queue().clone()).await?).await?;
        ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    }
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

/// After `verdict` the first task comes again, before its successor.
async fn keeps_its_place(t: Trial, verdict: Verdict) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2"]).await? else {
        return Ok(Shown::Refused);
    };
    let first = t.take_one(&rx).await?;
    ensure_eq!(
        rx.settle_one(&first.token, verdict).await?,
        now_in(State::Ready),
        "a verdict that gives back"
    );
    let again = t.take_one(&rx).await?;
    ensure_eq!(again.task.id, first.task.id, "the first task of the key");
    t.nothing(&rx).await?;
    ensure_eq!(rx.complete(&again).await?, DONE, "a complete");
    ensure_eq!(text(&t.take_one(&rx).await?), "a2", "its successor");
    Ok(Shown::Honoured)
}

pub(super) async fn a_retried_task_keeps_its_place(t: Trial) -> Proof {
    keeps_its_place(t, retry_at_once()).await
}

pub(super) async fn a_released_task_keeps_its_place(t: Trial) -> Proof {
    keeps_its_place(t, release_at_once()).await
}

pub(super) async fn a_retry_that_waits_blocks_its_key(t: Trial) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2"]).await? else {
        return Ok(Shown::Refused);
    };
    let first = t.take_one(&rx).await?;
    let retry = Verdict::Retry { after: t.ticks(20), error: None };
    if t.can().retry_delay == Delay::No {
        return refused(rx.settle_one(&first.token, retry).await);
    }
    ensure_eq!(
        rx.settle_one(&first.token, retry).await?,
        now_in(State::Scheduled),
        "a retry with a delay"
    );
    t.nothing(&rx).await?;
    t.pass(21).await;
    ensure_eq!(text(&t.take_one(&rx).await?), "a1", "the first task after its delay");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn an_ended_lease_keeps_its_place(t: Trial) -> Proof {
    let spec = QueueSpec { lease: t.ticks(20), ..t.ordered("mail")? };
    let Some(rx) = ordered(&t, &spec, &["a1", "a2"]).await? else {
        return Ok(Shown::Refused);
    };
    t.take_one(&rx).await?;
    t.nothing(&rx).await?;
    t.pass(21).await;
    let again = t.take_one(&rx).await?;
    ensure_eq!(text(&again), "a1", "the first task after its lease ended");
    t.nothing(&rx).await?;
    ensure_eq!(rx.complete(&again).await?, DONE, "a complete");
    ensure_eq!(text(&t.take_one(&rx).await?), "a2", "its successor");
    Ok(Shown::Honoured)
}

pub(super) async fn only_the_key_of_a_failed_task_is_blocked(t: Trial) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2", "b1"]).await? else {
        return Ok(Shown::Refused);
    };
    let first = t.take_one(&rx).await?;
    ensure_eq!(text(&first), "a1", "the key that has waited longest");
    if t.can().ordering == OrderingSupport::PerPartition {
        return Ok(Shown::Refused);
    }
    ensure_eq!(text(&t.take_one(&rx).await?), "b1", "the next key");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_dead_task_frees_its_key(t: Trial) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2"]).await? else {
        return Ok(Shown::Refused);
    };
    kill_one(&t, &rx, "broken").await?;
    ensure_eq!(text(&t.take_one(&rx).await?), "a2", "the successor of a dead task");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_takes_up_to_per_key_tasks_of_a_key(t: Trial) -> Proof {
    let Some(rx) = ordered(&t, &t.ordered("mail")?, &["a1", "a2", "a3", "b1"]).await? else {
        return Ok(Shown::Refused);
    };
    let leases = rx.receive(&ReceiveOptions::up_to(10).per_key(2)).await?;
    let of_a: Vec<String> = texts(&leases).into_iter().filter(|t| t.starts_with('a')).collect();
    let in_order = ["a1", "a2"].iter().zip(&of_a).all(|(expected, got)| expected == got);
    ensure!(of_a.len() <= 2 && in_order, "with two a key, {of_a:?} were received");
    if t.time_stands_still() {
        ensure_eq!(texts(&leases), ["a1", "a2", "b1"], "up to two tasks of every key");
    }
    for lease in &leases {
        ensure_eq!(rx.complete(lease).await?, DONE, "a complete");
    }
    let mut drained = t.drain(&rx).await?;
    drained.extend(texts(&leases));
    drained.sort();
    ensure_eq!(drained, ["a1", "a2", "a3", "b1"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn tasks_without_a_key_are_bound_to_no_order(t: Trial) -> Proof {
    let spec = t.ordered("mail")?;
    let Some(rx) = ordered(&t, &spec, &["a1"]).await? else {
        return Ok(Shown::Refused);
    };
    t.send(&spec.name, &["free", "free too"]).await?;
    if t.can().ordering == OrderingSupport::PerPartition {
        return Ok(Shown::Refused);
    }
    ensure_eq!(t.take(&rx, 3).await?.len(), 3, "tasks held at once");
    Ok(Shown::Honoured)
}

pub(super) async fn a_key_binds_nothing_on_an_unordered_queue(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if t.can().ordering == OrderingSupport::No {
        return refused(t.broker().enqueue_one(&spec.name, keyed("a1")).await);
    }
    t.send_all(&spec.name, &[keyed("a1"), keyed("a2")]).await?;
    ensure_eq!(t.take(&rx, 2).await?.len(), 2, "tasks of one key held at once");
    Ok(Shown::Honoured)
}

pub(super) async fn an_ordered_queue_takes_neither_delay_nor_priority(t: Trial) -> Proof {
    let spec = t.ordered("mail")?;
    let Some(rx) = ordered(&t, &spec, &[]).await? else {
        return Ok(Shown::Refused);
    };
    for breaking in [keyed("a1").delay(Duration::from_secs(1)), keyed("a2").priority(1)] {
        let sent = t.broker().enqueue_one(&spec.name, breaking).await;
        fails_with(sent, ErrorKind::Unsupported)?;
    }
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_key_is_routed_to_its_partition(t: Trial) -> Proof {
    let partitions = Partitions::new(7).map_err(Failure::new)?;
    for router in [Router::Hash, Router::Consistent] {
        let name = format!("mail-{router:?}");
        let spec = QueueSpec { partitions, router, ..t.ordered(&name)? };
        let Some(rx) = ordered(&t, &spec, &["a1", "b1", "c1", "d1"]).await? else {
            return Ok(Shown::Refused);
        };
        for lease in t.take(&rx, 4).await? {
            let key = lease.task.ordering_key.as_deref();
            let expected = router.route(key, 0, partitions);
            ensure_eq!(lease.task.partition, expected, "the partition of {key:?} by {router:?}");
        }
    }
    Ok(Shown::Honoured)
}
