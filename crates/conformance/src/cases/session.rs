//! Sessions: what closing one does to what it holds, and who is a member.

use tidegate_core::capabilities::{DeliveryCount, ReleaseCost};
use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{
    ErrorKind, Held, Membership, Partitions, QueueSpec, ReceiveOptions, SessionOptions,
};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, begin, ensure, ensure_eq, fails_with, refused, timed,
};

pub(super) async fn closing_with_release_gives_its_tasks_back_unharmed(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    t.take(&rx, 2).await?;
    rx.close(Held::Release).await?;
    let leases = t.take(&t.open(&spec.name).await?, 2).await?;
    let can = t.can();
    if can.deliveries == DeliveryCount::Counted && can.release == ReleaseCost::KeepsAttempt {
        let unharmed = leases.iter().all(|l| (l.task.deliveries, l.task.attempt) == (2, 1));
        ensure!(unharmed, "a task given back by a close has lost an attempt: {leases:?}");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn closing_with_release_leaves_other_sessions_alone(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let (rx, other) = (t.start(&spec).await?, t.open(&spec.name).await?);
    t.send(&spec.name, &["a", "b"]).await?;
    let kept = t.take_one(&other).await?;
    let given_back = t.take_one(&rx).await?;
    rx.close(Held::Release).await?;
    let again = t.take_one(&other).await?;
    ensure_eq!(again.task.id, given_back.task.id, "the task given back");
    t.nothing(&other).await?;
    ensure_eq!(other.complete(&kept).await?, DONE, "a complete in the open session");
    Ok(Shown::Honoured)
}

pub(super) async fn closing_with_keep_holds_tasks_until_their_time(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 50)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    t.take_one(&rx).await?;
    rx.close(Held::Keep).await?;
    let next = t.open(&spec.name).await?;
    if !timed(&t.can()) {
        t.take_one(&next).await?;
        return Ok(Shown::Refused);
    }
    t.nothing(&next).await?;
    t.pass(51).await;
    t.take_one(&next).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_closed_session_does_nothing_more(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    rx.close(Held::Keep).await?;
    rx.close(Held::Keep).await?;
    fails_with(rx.receive(&ReceiveOptions::up_to(1)).await, ErrorKind::Closed)?;
    fails_with(rx.complete(&lease).await, ErrorKind::Closed)?;
    fails_with(rx.extend_one(&lease.token, t.ticks(5)).await, ErrorKind::Closed)?;
    t.send(&spec.name, &["b"]).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn closing_a_session_wakes_who_waits_in_it(t: Trial) -> Proof {
    let rx = t.start(&t.spec("mail")?).await?;
    let options = ReceiveOptions::up_to(1).waiting(WAIT_MAX);
    let mut waiting = Box::pin(rx.receive(&options));
    ensure!(begin(&mut waiting).await.is_none(), "a receive did not wait at all");
    rx.close(Held::Release).await?;
    match waiting.await {
        Err(error) if error.kind() == ErrorKind::Closed => Ok(Shown::Honoured),
        Ok(leases) if leases.is_empty() => Ok(Shown::Honoured),
        answer => Err(Failure::new(format!("a closed session answered {answer:?}"))),
    }
}

pub(super) async fn a_member_is_listed_with_its_partitions(t: Trial) -> Proof {
    let partitions = Partitions::new(4).map_err(Failure::new)?;
    let spec = QueueSpec { partitions, ..t.spec("mail")? };
    t.start(&spec).await?;
    let member = |id: &str| SessionOptions {
        membership: Membership::Member(id.into()),
        ..SessionOptions::default()
    };
    let broker = t.broker();
    let joined = broker.open(&spec.name, &member("one")).await;
    if !t.can().membership {
        return refused(joined);
    }
    let joined = joined?;
    t.send(&spec.name, &["a"]).await?;
    t.take_one(&joined).await?;
    if let Ok(inspect) = broker.inspect() {
        let members = inspect.members(&spec.name).await?;
        let owned: Vec<u32> = members.iter().flat_map(|m| m.partitions.clone()).collect();
        ensure_eq!(members.len(), 1, "members of the group");
        ensure_eq!(owned, [0, 1, 2, 3], "partitions of the only member");
    }
    Ok(Shown::Honoured)
}
