//! Settle and enqueue in one step: both or neither.

use tidegate_core::capabilities::{AtomicScope, CapacitySupport, Fencing};
use tidegate_core::{
    Capacity, ErrorKind, FollowUp, Lease, Lost, NewTask, QueueName, QueueSpec, Receiver, Settled,
    State, Unique, Verdict,
};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, named, now_in, refused,
    task, text,
};

/// A held task of a queue, and where what follows it goes.
struct Step {
    rx: Receiver,
    lease: Lease,
    next: QueueName,
}

/// A held task on `spec`, or `None` once the broker has refused to do two things in one step.
async fn step(t: &Trial, spec: &QueueSpec) -> Result<Option<Step>, Failure> {
    let rx = t.start(spec).await?;
    t.send(&spec.name, &["first"]).await?;
    let lease = t.take_one(&rx).await?;
    let next = match t.can().atomic {
        AtomicScope::SameBroker => t.start(&t.spec("next")?).await?.queue().clone(),
        AtomicScope::SameQueue | AtomicScope::No => spec.name.clone(),
    };
    let step = Step { rx, lease, next };
    if t.can().atomic == AtomicScope::No {
        let follow_ups = [step.follow_up(task("second"))];
        refused(step.settle(t, &Verdict::Complete, &follow_ups).await)?;
        ensure_eq!(step.rx.complete(&step.lease).await?, DONE, "a complete after the refusal");
        return Ok(None);
    }
    Ok(Some(step))
}

impl Step {
    fn follow_up(&self, task: NewTask) -> FollowUp {
        FollowUp { queue: self.next.clone(), task }
    }

    async fn settle(
        &self,
        t: &Trial,
        verdict: &Verdict,
        follow_ups: &[FollowUp],
    ) -> tidegate_core::Result<(Settled, Vec<tidegate_core::Enqueued>)> {
        let queue = self.rx.queue();
        t.broker().settle_and_enqueue(queue, &self.lease.token, verdict, follow_ups).await
    }

    /// Neither happened: nothing waits, and the lease still settles.
    async fn left_undone(&self, t: &Trial) -> Proof {
        t.nothing(&t.open(&self.next).await?).await?;
        ensure_eq!(self.rx.complete(&self.lease).await?, DONE, "a complete after the failed step");
        Ok(Shown::Honoured)
    }
}

pub(super) async fn a_settle_and_its_follow_ups_are_one_step(t: Trial) -> Proof {
    let Some(step) = step(&t, &t.spec("mail")?).await? else {
        return Ok(Shown::Refused);
    };
    if t.can().atomic == AtomicScope::SameQueue {
        let elsewhere = t.start(&t.spec("elsewhere")?).await?.queue().clone();
        let follow_ups = [FollowUp { queue: elsewhere, task: task("second") }];
        refused(step.settle(&t, &Verdict::Complete, &follow_ups).await)?;
    }
    let (second, third) = (task("second"), task("third"));
    let ids = [second.id, third.id];
    let follow_ups = [step.follow_up(second), step.follow_up(third)];
    let (settled, enqueued) = step.settle(&t, &Verdict::Complete, &follow_ups).await?;
    ensure_eq!(settled, DONE, "the settle of the step");
    let enqueued: Vec<_> = enqueued.iter().map(|sent| sent.id).collect();
    ensure_eq!(enqueued, ids, "the ids that follow");
    let mut drained = t.drain(&t.open(&step.next).await?).await?;
    drained.sort();
    ensure_eq!(drained, ["second", "third"], "tasks that follow");
    let (again, enqueued) = step.settle(&t, &Verdict::Complete, &follow_ups).await?;
    ensure_eq!((again, enqueued.len()), (Settled::AlreadyDone, 0), "the same step again");
    t.nothing(&t.open(&step.next).await?).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_full_queue_leaves_both_undone(t: Trial) -> Proof {
    if t.can().capacity != CapacitySupport::Exact || t.can().atomic != AtomicScope::SameBroker {
        let bounded = QueueSpec { capacity: Capacity::Bounded(1), ..t.spec("full")? };
        if t.can().capacity == CapacitySupport::No {
            return refused(t.broker().declare(&bounded).await);
        }
        // WHY: within one queue a completed task makes the room that a second follow-up lacks.
        return full_of_its_own(&t).await;
    }
    let Some(step) = step(&t, &t.spec("mail")?).await? else {
        return Ok(Shown::Refused);
    };
    let full = QueueSpec { capacity: Capacity::Bounded(1), ..t.spec("full")? };
    let other = t.start(&full).await?;
    let to_full = |text| FollowUp { queue: full.name.clone(), task: task(text) };
    let follow_ups = [step.follow_up(task("fits")), to_full("fits too"), to_full("does not")];
    let failed = step.settle(&t, &Verdict::Complete, &follow_ups).await;
    fails_with(failed, ErrorKind::QueueFull)?;
    t.nothing(&other).await?;
    step.left_undone(&t).await
}

async fn full_of_its_own(t: &Trial) -> Proof {
    let spec = QueueSpec { capacity: Capacity::Bounded(1), ..t.spec("mail")? };
    let Some(step) = step(t, &spec).await? else {
        return Ok(Shown::Refused);
    };
    let follow_ups = [step.follow_up(task("fits")), step.follow_up(task("does not"))];
    let settled = step.settle(t, &Verdict::Complete, &follow_ups).await;
    if t.can().capacity == CapacitySupport::Soft {
        return Ok(Shown::Refused);
    }
    fails_with(settled, ErrorKind::QueueFull)?;
    step.left_undone(t).await
}

pub(super) async fn a_missing_queue_leaves_both_undone(t: Trial) -> Proof {
    let Some(step) = step(&t, &t.spec("mail")?).await? else {
        return Ok(Shown::Refused);
    };
    let missing = FollowUp { queue: named("missing")?, task: task("lost") };
    let follow_ups = [step.follow_up(task("second")), missing];
    let failed = step.settle(&t, &Verdict::Complete, &follow_ups).await;
    if t.can().atomic == AtomicScope::SameQueue {
        refused(failed)?;
    } else {
        fails_with(failed, ErrorKind::NotFound)?;
    }
    step.left_undone(&t).await
}

pub(super) async fn a_refused_follow_up_leaves_both_undone(t: Trial) -> Proof {
    let Some(step) = step(&t, &t.spec("mail")?).await? else {
        return Ok(Shown::Refused);
    };
    let too_long = NewTask::new("bytes", vec![0; t.can().payload_max + 1]);
    let follow_ups = [step.follow_up(task("second")), step.follow_up(too_long)];
    let failed = step.settle(&t, &Verdict::Complete, &follow_ups).await;
    fails_with(failed, ErrorKind::Invalid)?;
    step.left_undone(&t).await
}

pub(super) async fn a_stale_token_enqueues_nothing(t: Trial) -> Proof {
    let Some(step) = step(&t, &t.short_lease("mail", 10)?).await? else {
        return Ok(Shown::Refused);
    };
    t.pass(11).await;
    let current = t.take_one(&step.rx).await?;
    if t.can().fencing == Fencing::Advisory {
        return Ok(Shown::Refused);
    }
    let follow_ups = [step.follow_up(task("second"))];
    let (settled, enqueued) = step.settle(&t, &Verdict::Complete, &follow_ups).await?;
    ensure_eq!(settled, Settled::Lost(Lost::Superseded), "a step with a stale token");
    ensure!(enqueued.is_empty(), "a step with a stale token enqueued {enqueued:?}");
    t.nothing(&t.open(&step.next).await?).await?;
    ensure_eq!(step.rx.complete(&current).await?, DONE, "a complete with the newest token");
    Ok(Shown::Honoured)
}

pub(super) async fn a_completed_task_makes_room_for_what_follows(t: Trial) -> Proof {
    let mut spec = t.spec("mail")?;
    if t.can().capacity != CapacitySupport::No {
        spec.capacity = Capacity::Bounded(1);
    }
    let Some(step) = step(&t, &spec).await? else {
        return Ok(Shown::Refused);
    };
    let follow_up = FollowUp { queue: spec.name.clone(), task: task("second") };
    if t.can().capacity == CapacitySupport::Exact {
        let back = Verdict::Release { after: std::time::Duration::ZERO };
        let failed = step.settle(&t, &back, std::slice::from_ref(&follow_up)).await;
        fails_with(failed, ErrorKind::QueueFull)?;
    }
    let (settled, _) = step.settle(&t, &Verdict::Complete, &[follow_up]).await?;
    ensure_eq!(settled, now_in(State::Done), "the settle of the step");
    ensure_eq!(text(&t.take_one(&step.rx).await?), "second", "the task that follows");
    Ok(Shown::Honoured)
}

pub(super) async fn a_duplicate_follow_up_answers_the_earlier_task(t: Trial) -> Proof {
    let Some(step) = step(&t, &t.spec("mail")?).await? else {
        return Ok(Shown::Refused);
    };
    let unique = |text| task(text).dedup("k", Unique::Window(t.ticks(500)));
    if t.can().dedup_window_max.is_none() {
        return refused(t.broker().enqueue_one(&step.next, unique("early")).await);
    }
    let early = t.send_all(&step.next, &[unique("early")]).await?;
    let follow_ups = [step.follow_up(unique("late"))];
    let (settled, enqueued) = step.settle(&t, &Verdict::Complete, &follow_ups).await?;
    ensure_eq!(settled, DONE, "the settle of the step");
    let answers: Vec<_> = enqueued.iter().map(|sent| (sent.id, sent.deduplicated)).collect();
    let earlier: Vec<_> = early.iter().map(|sent| (sent.id, true)).collect();
    ensure_eq!(answers, earlier, "the answer for a duplicate that follows");
    ensure_eq!(t.drain(&t.open(&step.next).await?).await?, ["early"], "tasks that came out");
    Ok(Shown::Honoured)
}
