//! Priorities: the higher goes first.

use tidegate_core::{NewTask, Receiver, State};

use crate::trial::{
    Failure, Proof, Shown, Trial, ensure_eq, now_in, refused, retry_at_once, task, text,
};

/// The highest priority, or the refusal of any.
async fn highest(t: &Trial) -> Result<Option<u8>, Failure> {
    let spec = t.spec("refusing")?;
    t.start(&spec).await?;
    if let Some(highest) = t.can().priority_max.filter(|highest| *highest > 0) {
        if let Some(beyond) = highest.checked_add(1) {
            refused(t.broker().enqueue_one(&spec.name, task("a").priority(beyond)).await)?;
        }
        return Ok(Some(highest));
    }
    refused(t.broker().enqueue_one(&spec.name, task("a").priority(1)).await)?;
    Ok(None)
}

async fn one_by_one(t: &Trial, rx: &Receiver, count: usize) -> Result<Vec<String>, Failure> {
    let mut order = Vec::new();
    for _ in 0..count {
        order.push(text(&t.take_one(rx).await?));
    }
    Ok(order)
}

pub(super) async fn a_higher_priority_goes_first(t: Trial) -> Proof {
    let Some(highest) = highest(&t).await? else {
        return Ok(Shown::Refused);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let tasks = [task("low"), task("high").priority(highest), task("low again")];
    t.send_all(&spec.name, &tasks).await?;
    let order = one_by_one(&t, &rx, 3).await?;
    ensure_eq!(order, ["high", "low", "low again"], "the order");
    Ok(Shown::Honoured)
}

pub(super) async fn within_one_priority_the_longest_ready_goes_first(t: Trial) -> Proof {
    let Some(highest) = highest(&t).await? else {
        return Ok(Shown::Refused);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let tasks: Vec<NewTask> =
        ["a", "b", "c", "d"].iter().map(|text| task(text).priority(highest)).collect();
    t.send_all(&spec.name, &tasks).await?;
    let order = one_by_one(&t, &rx, 4).await?;
    ensure_eq!(order, ["a", "b", "c", "d"], "the order");
    Ok(Shown::Honoured)
}

pub(super) async fn a_retried_task_keeps_its_priority(t: Trial) -> Proof {
    let Some(highest) = highest(&t).await? else {
        return Ok(Shown::Refused);
    };
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send_all(&spec.name, &[task("high").priority(highest), task("low")]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(lease.task.priority, highest, "the priority as received");
    let settled = rx.settle_one(&lease.token, retry_at_once()).await?;
    ensure_eq!(settled, now_in(State::Ready), "a retry");
    ensure_eq!(one_by_one(&t, &rx, 2).await?, ["high", "low"], "the order");
    Ok(Shown::Honoured)
}
