//! Dedup keys: a second send with a held key is answered with the first task.

use std::time::Duration;

use tidegate_core::capabilities::CapacitySupport;
use tidegate_core::{Capacity, Enqueued, ErrorKind, NewTask, QueueName, QueueSpec, Unique};

use super::dead_letter::kill_one;
use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, refused, task,
};

/// The refusal of a window, where the broker has none that is long enough.
async fn no_window(t: &Trial, queue: &QueueName) -> Result<bool, Failure> {
    let window = t.ticks(100);
    if t.can().dedup_window_max.is_some_and(|longest| window <= longest) {
        return Ok(false);
    }
    let unique = task("a").dedup("k", Unique::Window(window));
    refused(t.broker().enqueue_one(queue, unique).await)?;
    Ok(true)
}

async fn no_until_done(t: &Trial, queue: &QueueName) -> Result<bool, Failure> {
    if t.can().dedup_until_done {
        return Ok(false);
    }
    refused(t.broker().enqueue_one(queue, until_done("a")).await)?;
    Ok(true)
}

fn within(t: &Trial, text: &str, ticks: u32) -> NewTask {
    task(text).dedup("k", Unique::Window(t.ticks(ticks)))
}

fn until_done(text: &str) -> NewTask {
    task(text).dedup("k", Unique::UntilDone)
}

async fn send_one(t: &Trial, queue: &QueueName, task: NewTask) -> Result<Enqueued, Failure> {
    Ok(t.broker().enqueue_one(queue, task).await?)
}

pub(super) async fn a_second_send_inside_the_window_is_a_duplicate(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if no_window(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    let first = send_one(&t, &spec.name, within(&t, "first", 100)).await?;
    ensure!(!first.deduplicated, "the first send is a duplicate");
    let second = send_one(&t, &spec.name, within(&t, "second", 100)).await?;
    ensure_eq!(second, Enqueued { deduplicated: true, ..first }, "the answer to the second send");
    ensure_eq!(t.drain(&rx).await?, ["first"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn the_window_ends_on_time(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    if no_window(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    let (window, clock) = (t.ticks(50), t.broker().clock().clone());
    let sent_from = clock.now();
    send_one(&t, &spec.name, within(&t, "first", 50)).await?;
    let sent_by = clock.now();
    t.pass(49).await;
    let asked_from = clock.now();
    let inside = send_one(&t, &spec.name, within(&t, "inside", 50)).await?;
    // WHY: where time runs by itself only what both clocks agree on can be judged.
    if clock.now() < sent_from.plus(window) {
        ensure!(inside.deduplicated, "a send inside the window made a second task");
    }
    ensure!(asked_from >= sent_from, "the clock ran backwards");
    if inside.deduplicated {
        t.pass(1).await;
        let outside = send_one(&t, &spec.name, within(&t, "outside", 50)).await?;
        let over = clock.now() >= sent_by.plus(window);
        ensure!(!over || !outside.deduplicated, "the window goes on after its end");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn the_window_holds_when_the_task_is_done(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if no_window(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    send_one(&t, &spec.name, within(&t, "first", 100)).await?;
    t.drain(&rx).await?;
    let second = send_one(&t, &spec.name, within(&t, "second", 100)).await?;
    ensure!(second.deduplicated, "the window ended with the task");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn until_done_holds_until_the_task_is_done(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if no_until_done(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    let first = send_one(&t, &spec.name, until_done("first")).await?;
    let lease = t.take_one(&rx).await?;
    let second = send_one(&t, &spec.name, until_done("second")).await?;
    ensure_eq!(second, Enqueued { deduplicated: true, ..first }, "a send while the task is held");
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    let third = send_one(&t, &spec.name, until_done("third")).await?;
    ensure!(!third.deduplicated, "the key is held after its task was done");
    ensure_eq!(t.drain(&rx).await?, ["third"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn until_done_ends_with_a_death(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if no_until_done(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    send_one(&t, &spec.name, until_done("first")).await?;
    kill_one(&t, &rx, "broken").await?;
    let second = send_one(&t, &spec.name, until_done("second")).await?;
    ensure!(!second.deduplicated, "the key is held after its task died");
    Ok(Shown::Honoured)
}

pub(super) async fn a_purge_frees_every_key(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    if no_window(&t, &spec.name).await? || no_until_done(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    let broker = t.broker();
    let Ok(admin) = broker.admin() else {
        return refused(broker.admin().map(|_| ()));
    };
    let both = [within(&t, "a", 100), task("b").dedup("other", Unique::UntilDone)];
    t.send_all(&spec.name, &both).await?;
    admin.purge(&spec.name).await?;
    let again = t.send_all(&spec.name, &both).await?;
    ensure!(again.iter().all(|sent| !sent.deduplicated), "a key is held after the purge");
    Ok(Shown::Honoured)
}

pub(super) async fn duplicates_in_one_batch_make_one_task(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    if no_window(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    let batch = [within(&t, "first", 100), task("between"), within(&t, "second", 100)];
    let outcomes = t.send_all(&spec.name, &batch).await?;
    let deduplicated: Vec<bool> = outcomes.iter().map(|sent| sent.deduplicated).collect();
    ensure_eq!(deduplicated, [false, false, true], "which of the batch are duplicates");
    ensure_eq!(
        outcomes.last().map(|sent| sent.id),
        outcomes.first().map(|sent| sent.id),
        "the id that answers for the duplicate"
    );
    ensure_eq!(t.drain(&rx).await?.len(), 2, "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn a_duplicate_needs_no_room(t: Trial) -> Proof {
    let spec = QueueSpec { capacity: Capacity::Bounded(1), ..t.spec("mail")? };
    if t.can().capacity != CapacitySupport::Exact {
        if t.can().capacity == CapacitySupport::No {
            refused(t.broker().declare(&spec).await)?;
        }
        return Ok(Shown::Refused);
    }
    t.start(&spec).await?;
    if no_window(&t, &spec.name).await? {
        return Ok(Shown::Refused);
    }
    send_one(&t, &spec.name, within(&t, "first", 100)).await?;
    let second = send_one(&t, &spec.name, within(&t, "second", 100)).await?;
    ensure!(second.deduplicated, "a duplicate in a full queue made a second task");
    fails_with(t.broker().enqueue_one(&spec.name, task("third")).await, ErrorKind::QueueFull)?;
    Ok(Shown::Honoured)
}

pub(super) async fn other_keys_and_other_queues_are_left_alone(t: Trial) -> Proof {
    let (mail, sms) = (t.spec("mail")?, t.spec("sms")?);
    let (rx, other) = (t.start(&mail).await?, t.start(&sms).await?);
    if no_window(&t, &mail.name).await? {
        return Ok(Shown::Refused);
    }
    let keyed = |text| task(text).dedup(text, Unique::Window(t.ticks(100)));
    t.send_all(&mail.name, &[keyed("a"), keyed("b"), task("c"), task("d")]).await?;
    t.send_all(&sms.name, &[keyed("a")]).await?;
    ensure_eq!(t.drain(&rx).await?.len(), 4, "tasks with keys of their own or none");
    ensure_eq!(t.drain(&other).await?, ["a"], "tasks of the other queue");
    Ok(Shown::Honoured)
}

pub(super) async fn a_window_of_no_length_or_too_much_is_refused(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let windowed = |window| task("a").dedup("k", Unique::Window(window));
    let zero = t.broker().enqueue_one(&spec.name, windowed(Duration::ZERO)).await;
    fails_with(zero, ErrorKind::Invalid)?;
    let longest = t.can().dedup_window_max;
    let too_long = longest.unwrap_or_default() + Duration::from_millis(1);
    let too_long = t.broker().enqueue_one(&spec.name, windowed(too_long)).await;
    fails_with(too_long, ErrorKind::Unsupported)?;
    t.nothing(&rx).await?;
    Ok(if longest.is_some() { Shown::Honoured } else { Shown::Refused })
}
