//! Receiving: up to a limit, waiting for the first, and never one task twice at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_core::capabilities::Delay;
use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{ErrorKind, Lease, ReceiveOptions, Receiver, TaskId};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, begin, ensure, ensure_eq, fails_with, refused,
    release_at_once, task, text, texts,
};

pub(super) async fn an_empty_queue_answers_at_once_without_a_wait(t: Trial) -> Proof {
    let rx = t.start(&t.spec("mail")?).await?;
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn nothing_ready_returns_empty_after_its_wait(t: Trial) -> Proof {
    let rx = t.start(&t.spec("mail")?).await?;
    let options = ReceiveOptions::up_to(1).waiting(t.ticks(10));
    let mut waiting = Box::pin(rx.receive(&options));
    ensure!(begin(&mut waiting).await.is_none(), "a receive did not wait at all");
    t.pass(10).await;
    ensure_eq!(texts(&waiting.await?).len(), 0, "tasks of an empty queue");
    Ok(Shown::Honoured)
}

/// A receive that has begun to wait, for longer than any case takes.
async fn wait_for_one(
    rx: &Receiver,
) -> Result<impl Future<Output = Result<Vec<Lease>, Failure>>, Failure> {
    let rx = rx.clone();
    let mut waiting = Box::pin(async move {
        Ok::<_, Failure>(rx.receive(&ReceiveOptions::up_to(1).waiting(WAIT_MAX)).await?)
    });
    match begin(&mut waiting).await {
        None => Ok(waiting),
        Some(early) => Err(Failure::new(format!("a receive did not wait at all: {early:?}"))),
    }
}

pub(super) async fn a_waiting_receive_wakes_on_an_enqueue(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let waiting = wait_for_one(&rx).await?;
    t.pass(1).await;
    t.send(&spec.name, &["late"]).await?;
    ensure_eq!(texts(&waiting.await?), ["late"], "what woke the receive");
    Ok(Shown::Honoured)
}

pub(super) async fn a_waiting_receive_wakes_when_a_delay_is_due(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let delayed = task("due").delay(t.ticks(10));
    if t.can().delay == Delay::No {
        return refused(t.broker().enqueue_one(&spec.name, delayed).await);
    }
    let waiting = wait_for_one(&rx).await?;
    t.send_all(&spec.name, &[delayed]).await?;
    t.pass(10).await;
    ensure_eq!(texts(&waiting.await?), ["due"], "what woke the receive");
    Ok(Shown::Honoured)
}

pub(super) async fn a_waiting_receive_wakes_when_a_lease_ends(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 10)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["again"]).await?;
    t.take_one(&rx).await?;
    let waiting = wait_for_one(&rx).await?;
    t.pass(11).await;
    ensure_eq!(texts(&waiting.await?), ["again"], "what woke the receive");
    Ok(Shown::Honoured)
}

pub(super) async fn a_waiting_receive_wakes_on_a_release(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["back"]).await?;
    let held = t.take_one(&rx).await?;
    let waiting = wait_for_one(&rx).await?;
    let _ = rx.settle_one(&held.token, release_at_once()).await?;
    ensure_eq!(texts(&waiting.await?), ["back"], "what woke the receive");
    Ok(Shown::Honoured)
}

pub(super) async fn the_limit_is_kept(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c", "d", "e"]).await?;
    let first = rx.receive(&ReceiveOptions::up_to(2)).await?;
    ensure!(first.len() <= 2, "{} tasks were received with a limit of 2", first.len());
    let rest = t.take(&rx, 5 - first.len()).await?;
    let mut all: Vec<String> = first.iter().chain(&rest).map(text).collect();
    all.sort();
    ensure_eq!(all, ["a", "b", "c", "d", "e"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn options_that_make_no_sense_are_invalid(t: Trial) -> Proof {
    let rx = t.start(&t.spec("mail")?).await?;
    let too_long = WAIT_MAX + Duration::from_millis(1);
    for options in [
        ReceiveOptions::up_to(0),
        ReceiveOptions::up_to(1).per_key(0),
        ReceiveOptions::up_to(1).waiting(too_long),
    ] {
        fails_with(rx.receive(&options).await, ErrorKind::Invalid)?;
    }
    Ok(Shown::Honoured)
}

const MANY: usize = 200;
const CONSUMERS: usize = 8;

pub(super) async fn many_consumers_never_share_a_lease(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let tasks: Vec<_> = (0..MANY).map(|n| task(&n.to_string())).collect();
    t.send_all(&spec.name, &tasks).await?;
    let left = Arc::new(AtomicUsize::new(MANY));
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let rx = t.open(&spec.name).await?;
        consumers.push(tokio::spawn(consume(rx, left.clone())));
    }
    let mut times: HashMap<TaskId, usize> = HashMap::new();
    for consumer in consumers {
        let ids = consumer.await.map_err(|error| Failure::new(error.to_string()))??;
        ids.into_iter().for_each(|id| *times.entry(id).or_default() += 1);
    }
    ensure_eq!(times.len(), MANY, "tasks that came out");
    let shared = times.values().filter(|times| **times > 1).count();
    ensure_eq!(shared, 0, "tasks that two consumers held");
    Ok(Shown::Honoured)
}

async fn consume(rx: Receiver, left: Arc<AtomicUsize>) -> Result<Vec<TaskId>, Failure> {
    let mut ids = Vec::new();
    while left.load(Ordering::Acquire) > 0 {
        for lease in rx.receive(&ReceiveOptions::up_to(3)).await? {
            ids.push(lease.task.id);
            tokio::task::yield_now().await;
            ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
            let before = left.fetch_sub(1, Ordering::AcqRel);
            ensure!(before > 0, "more tasks were handed out than were sent");
        }
        tokio::task::yield_now().await;
    }
    Ok(ids)
}
