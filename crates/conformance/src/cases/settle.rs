//! Settling: each verdict does what it says, once.

use tidegate_core::capabilities::{Completion, Delay, DeliveryCount, ReleaseCost};
use tidegate_core::limits::SETTLED_MEMORY;
use tidegate_core::{Held, Lost, Settled, State, Verdict};

use crate::trial::{
    DONE, Proof, Shown, Trial, ensure, ensure_eq, now_in, refused, release_at_once,
    retry_at_once, texts,
};

pub(super) async fn complete_is_final(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 20)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    t.nothing(&rx).await?;
    t.pass(21).await;
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn settling_twice_is_already_done(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    for (lease, verdict) in
        t.take(&rx, 2).await?.iter().zip([Verdict::Complete, release_at_once()])
    {
        let _ = rx.settle_one(&lease.token, verdict).await?;
        for verdict in [Verdict::Complete, retry_at_once()] {
            let again = rx.settle_one(&lease.token, verdict).await?;
            ensure_eq!(again, Settled::AlreadyDone, "a second settle of one lease");
        }
    }
    ensure_eq!(t.take(&rx, 1).await?.len(), 1, "tasks that were given back");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_settled_token_is_remembered_for_five_minutes(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    if t.time_stands_still() {
        t.pass_time(SETTLED_MEMORY - t.ticks(1)).await;
    } else {
        // WHY: nobody waits five real minutes; a broker on real time shows a part of the sentence.
        t.pass(5).await;
    }
    ensure_eq!(rx.complete(&lease).await?, Settled::AlreadyDone, "a late second complete");
    if t.time_stands_still() {
        t.pass(1).await;
        let forgotten = Settled::Lost(Lost::NotFound);
        ensure_eq!(rx.complete(&lease).await?, forgotten, "a second complete after five minutes");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn one_token_twice_in_a_batch_settles_once(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let token = t.take_one(&rx).await?.token;
    let batch = [(token.clone(), Verdict::Complete), (token, Verdict::Complete)];
    let outcomes = rx.settle(&batch).await?;
    ensure_eq!(outcomes, [DONE, Settled::AlreadyDone], "outcomes of one token twice");
    Ok(Shown::Honoured)
}

pub(super) async fn verdicts_of_one_batch_each_have_their_outcome(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c", "d", "e"]).await?;
    let leases = t.take(&rx, 5).await?;
    let tokens = leases.iter().map(|lease| lease.token.clone());
    let dead = Verdict::DeadLetter { reason: "broken".into() };
    let verdicts =
        [Verdict::Complete, retry_at_once(), Verdict::Complete, release_at_once(), dead];
    let batch: Vec<_> = tokens.zip(verdicts).collect();
    let outcomes = rx.settle(&batch).await?;
    let states = [State::Done, State::Ready, State::Done, State::Ready, State::Dead];
    ensure_eq!(outcomes, states.map(now_in), "outcomes in the order of the verdicts");
    let back = |n: &usize| leases.get(*n).map(crate::trial::text);
    let mut expected: Vec<String> = [1, 3].iter().filter_map(back).collect();
    let mut left = texts(&t.take(&rx, 2).await?);
    left.sort();
    expected.sort();
    ensure_eq!(left, expected, "tasks that came back");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn out_of_order_completions_are_final_or_come_back_as_declared(
    t: Trial,
) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c"]).await?;
    let mut leases = t.take(&rx, 3).await?;
    let first = leases.remove(0);
    for lease in leases.iter().rev() {
        ensure_eq!(rx.complete(lease).await?, DONE, "a complete out of order");
    }
    t.nothing(&rx).await?;
    rx.close(Held::Release).await?;
    let next = t.open(&spec.name).await?;
    let back = t.drain(&next).await?;
    let open = crate::trial::text(&first);
    ensure!(back.contains(&open), "the task that was not completed is lost");
    if t.can().completion == Completion::Watermark {
        return Ok(Shown::Refused);
    }
    ensure_eq!(back, [open], "tasks that came back");
    Ok(Shown::Honoured)
}

pub(super) async fn a_released_task_is_ready_at_once(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let settled = rx.settle_one(&lease.token, release_at_once()).await?;
    ensure_eq!(settled, now_in(State::Ready), "a release");
    ensure_eq!(t.take_one(&rx).await?.task.id, lease.task.id, "the task given back");
    Ok(Shown::Honoured)
}

pub(super) async fn a_release_keeps_or_burns_the_attempt_as_declared(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    for _ in 0..2 {
        let lease = t.take_one(&rx).await?;
        let _ = rx.settle_one(&lease.token, release_at_once()).await?;
    }
    let task = t.take_one(&rx).await?.task;
    let can = t.can();
    match (can.deliveries, can.release) {
        (DeliveryCount::AtLeast, _) => {
            ensure!(task.deliveries >= 1 && task.attempt >= 1, "a count below 1: {task:?}");
            return Ok(Shown::Refused);
        }
        (DeliveryCount::Counted, ReleaseCost::KeepsAttempt) => {
            ensure_eq!((task.deliveries, task.attempt), (3, 1), "deliveries and attempt");
        }
        (DeliveryCount::Counted, ReleaseCost::BurnsAttempt) => {
            ensure_eq!((task.deliveries, task.attempt), (3, 3), "deliveries and attempt");
        }
    }
    Ok(Shown::Honoured)
}

pub(super) async fn a_release_waits_for_its_delay(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let release = Verdict::Release { after: t.ticks(20) };
    let settled = rx.settle_one(&lease.token, release).await;
    if t.can().retry_delay == Delay::No {
        refused(settled)?;
        ensure_eq!(rx.complete(&lease).await?, DONE, "a complete after the refusal");
        return Ok(Shown::Refused);
    }
    ensure_eq!(settled?, now_in(State::Scheduled), "a release with a delay");
    t.pass(10).await;
    t.nothing(&rx).await?;
    t.pass(11).await;
    t.take_one(&rx).await?;
    Ok(Shown::Honoured)
}
