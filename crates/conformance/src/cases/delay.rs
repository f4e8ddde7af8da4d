//! Delays: a task is never early, and waiting costs it nothing.

use std::time::Duration;

use tidegate_core::capabilities::{Delay, DeliveryCount};
use tidegate_core::{ErrorKind, NewTask};

use crate::trial::{Proof, Shown, Trial, ensure_eq, fails_with, refused, task, text};

fn delayed(t: &Trial, text: &str, ticks: u32) -> NewTask {
    task(text).delay(t.ticks(ticks))
}

pub(super) async fn a_delayed_task_waits_for_its_time(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if t.can().delay == Delay::No {
        refused(t.broker().enqueue_one(&spec.name, delayed(&t, "a", 20)).await)?;
        t.nothing(&rx).await?;
        return Ok(Shown::Refused);
    }
    t.send_all(&spec.name, &[delayed(&t, "a", 20)]).await?;
    t.nothing(&rx).await?;
    t.pass(10).await;
    t.nothing(&rx).await?;
    t.pass(11).await;
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_delay_longer_than_the_lease_is_one_delivery(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 5)?;
    let rx = t.start(&spec).await?;
    if t.can().delay == Delay::No {
        return refused(t.broker().enqueue_one(&spec.name, delayed(&t, "a", 30)).await);
    }
    t.send_all(&spec.name, &[delayed(&t, "a", 30)]).await?;
    t.pass(15).await;
    t.nothing(&rx).await?;
    t.pass(16).await;
    let lease = t.take_one(&rx).await?;
    if t.can().deliveries == DeliveryCount::Counted {
        ensure_eq!((lease.task.deliveries, lease.task.attempt), (1, 1), "deliveries and attempt");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn the_sooner_task_is_ready_first(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let tasks = [delayed(&t, "late", 40), delayed(&t, "soon", 10), task("now")];
    if t.can().delay == Delay::No {
        let [late, ..] = tasks;
        return refused(t.broker().enqueue_one(&spec.name, late).await);
    }
    t.send_all(&spec.name, &tasks).await?;
    ensure_eq!(text(&t.take_one(&rx).await?), "now", "what is ready at once");
    t.pass(11).await;
    ensure_eq!(text(&t.take_one(&rx).await?), "soon", "what is ready next");
    t.pass(31).await;
    ensure_eq!(text(&t.take_one(&rx).await?), "late", "what is ready last");
    Ok(Shown::Honoured)
}

pub(super) async fn a_delay_beyond_the_longest_is_refused(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let longest = match t.can().delay {
        Delay::No => Duration::ZERO,
        Delay::UpTo(longest) => longest,
    };
    let too_long = task("a").delay(longest + Duration::from_millis(1));
    fails_with(t.broker().enqueue_one(&spec.name, too_long).await, ErrorKind::Unsupported)?;
    t.nothing(&rx).await?;
    Ok(if longest.is_zero() { Shown::Refused } else { Shown::Honoured })
}
