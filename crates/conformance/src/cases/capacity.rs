//! Capacity: a bound that holds for sends, and never for what comes back.

use tidegate_core::capabilities::{CapacitySupport, Delay};
use tidegate_core::{Capacity, ErrorKind, NewTask, QueueSpec, State, Verdict};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, now_in, refused,
    release_at_once, retry_at_once, task,
};

fn bounded(t: &Trial, bound: u64) -> Result<QueueSpec, Failure> {
    Ok(QueueSpec { capacity: Capacity::Bounded(bound), ..t.spec("mail")? })
}

/// Whether the bound is exact. A broker without one has refused, a soft one has stopped somewhere.
async fn exact(t: &Trial) -> Result<bool, Failure> {
    let spec = QueueSpec { name: crate::trial::named("soft")?, ..bounded(t, 10)? };
    match t.can().capacity {
        CapacitySupport::Exact => return Ok(true),
        CapacitySupport::No => {
            refused(t.broker().declare(&spec).await)?;
        }
        CapacitySupport::Soft => {
            t.start(&spec).await?;
            let mut refusals = 0;
            for _ in 0..20 {
                let batch: Vec<NewTask> = (0..10).map(|n| task(&n.to_string())).collect();
                let outcomes = t.broker().enqueue(&spec.name, &batch).await?;
                refusals += outcomes.iter().filter(|outcome| outcome.is_err()).count();
                t.pass(1).await;
            }
            ensure!(refusals > 0, "200 tasks fit into a queue for about 10");
        }
    }
    Ok(false)
}

pub(super) async fn a_full_queue_refuses_a_send(t: Trial) -> Proof {
    if !exact(&t).await? {
        return Ok(Shown::Refused);
    }
    let spec = bounded(&t, 2)?;
    let rx = t.start(&spec).await?;
    let outcomes = t.broker().enqueue(&spec.name, &["a", "b", "c"].map(task)).await?;
    let admitted: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    ensure_eq!(admitted, [true, true, false], "which of the batch were admitted");
    for refusal in outcomes.into_iter().filter_map(Result::err) {
        ensure_eq!(refusal.kind(), ErrorKind::QueueFull, "the refusal");
        ensure!(refusal.is_retryable(), "a full queue can be tried again later");
    }
    let mut drained = t.drain(&rx).await?;
    drained.sort();
    ensure_eq!(drained, ["a", "b"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn leased_and_scheduled_tasks_take_room(t: Trial) -> Proof {
    if !exact(&t).await? {
        return Ok(Shown::Refused);
    }
    let spec = bounded(&t, 2)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    t.take_one(&rx).await?;
    let second = match t.can().delay {
        Delay::No => task("b"),
        Delay::UpTo(_) => task("b").delay(t.ticks(50)),
    };
    t.send_all(&spec.name, &[second]).await?;
    fails_with(t.broker().enqueue_one(&spec.name, task("c")).await, ErrorKind::QueueFull)?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_completed_task_makes_room(t: Trial) -> Proof {
    if !exact(&t).await? {
        return Ok(Shown::Refused);
    }
    let spec = bounded(&t, 1)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    fails_with(t.broker().enqueue_one(&spec.name, task("b")).await, ErrorKind::QueueFull)?;
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    t.send(&spec.name, &["b"]).await?;
    let lease = t.take_one(&rx).await?;
    let dead = Verdict::DeadLetter { reason: "broken".into() };
    ensure_eq!(rx.settle_one(&lease.token, dead).await?, now_in(State::Dead), "a death");
    t.send(&spec.name, &["c"]).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_task_that_comes_back_is_always_admitted(t: Trial) -> Proof {
    if !exact(&t).await? {
        return Ok(Shown::Refused);
    }
    let spec = QueueSpec { lease: t.ticks(20), ..bounded(&t, 1)? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    for verdict in [retry_at_once(), release_at_once()] {
        let lease = t.take_one(&rx).await?;
        ensure_eq!(
            rx.settle_one(&lease.token, verdict).await?,
            now_in(State::Ready),
            "a verdict that gives back to a full queue"
        );
    }
    t.take_one(&rx).await?;
    t.pass(21).await;
    fails_with(t.broker().enqueue_one(&spec.name, task("b")).await, ErrorKind::QueueFull)?;
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}
