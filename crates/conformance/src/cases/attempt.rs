//! Receiving again what an answer that was lost had handed out.

use tidegate_core::limits::ATTEMPT_MEMORY;
use tidegate_core::{
    AttemptId, Lease, LeaseToken, Partitions, QueueSpec, ReceiveOptions, Receiver, Settled, State,
};

use crate::trial::{
    DONE, Failure, Proof, Shown, Trial, ensure, ensure_eq, refused, release_at_once,
};

const HELD: Settled = Settled::Done { state: State::Leased };

fn attempt(limit: usize, id: &str) -> Result<ReceiveOptions, Failure> {
    Ok(ReceiveOptions::up_to(limit).named(AttemptId::new(id).map_err(Failure::new)?))
}

/// A queue with one task, received under the name `first` for 20 ticks. `Err` is the whole case: the
/// broker refuses names.
async fn held_by_name(t: &Trial) -> Result<Result<(Receiver, Lease), Proof>, Failure> {
    let spec = t.short_lease("mail", 20)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let first = attempt(1, "first")?;
    if t.can().attempt_memory.is_none() {
        return Ok(Err(refused(rx.receive(&first).await)));
    }
    let lease = t.take_with(&rx, &first).await?.pop();
    Ok(Ok((rx, lease.ok_or_else(|| Failure::new("no task was received"))?)))
}

macro_rules! held_by_name {
    ($t:expr) => {
        match held_by_name($t).await? {
            Ok(held) => held,
            Err(proof) => return proof,
        }
    };
}

fn tokens(leases: &[Lease]) -> Vec<LeaseToken> {
    leases.iter().map(|lease| lease.token.clone()).collect()
}

/// Fails if the receive `first` is still known.
async fn is_forgotten(rx: &Receiver) -> Result<(), Failure> {
    let again = rx.receive(&attempt(1, "first")?).await?;
    ensure!(again.is_empty(), "a receive that is over was made again: {again:?}");
    Ok(())
}

pub(super) async fn a_receive_made_again_has_the_same_tasks_and_tokens(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    let elsewhere = t.open(rx.queue()).await?;
    let again = elsewhere.receive(&attempt(1, "first")?).await?;
    ensure!(tokens(&again) == [lease.token.clone()], "other tokens than at first: {again:?}");
    let same = again.iter().all(|again| again.task == lease.task);
    ensure!(same, "{again:?} is not the same as {lease:?}");
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete by the first answer");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_made_again_begins_its_leases_anew(t: Trial) -> Proof {
    let (rx, _) = held_by_name!(&t);
    t.pass(12).await;
    ensure_eq!(rx.receive(&attempt(1, "first")?).await?.len(), 1, "tasks received again");
    t.pass(12).await;
    t.nothing(&rx).await?;
    t.pass(9).await;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(lease.task.deliveries, 2, "deliveries: one that was made again is still one");
    Ok(Shown::Honoured)
}

pub(super) async fn another_name_is_another_receive(t: Trial) -> Proof {
    let (rx, _) = held_by_name!(&t);
    ensure_eq!(rx.receive(&attempt(1, "second")?).await?.len(), 0, "tasks for another name");
    t.send(rx.queue(), &["b"]).await?;
    let other = t.take_with(&rx, &attempt(1, "second")?).await?;
    ensure_eq!(crate::trial::texts(&other), ["b"], "the task of another name");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_whose_task_was_settled_is_not_made_again(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    ensure_eq!(rx.complete(&lease).await?, DONE, "a complete");
    is_forgotten(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_whose_task_came_back_is_a_new_one(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    let _ = rx.settle_one(&lease.token, release_at_once()).await?;
    let anew = t.take_with(&rx, &attempt(1, "first")?).await?;
    ensure!(tokens(&anew) != [lease.token], "a task that came back has its old token");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_whose_task_another_one_took_is_not_made_again(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    let _ = rx.settle_one(&lease.token, release_at_once()).await?;
    t.take_one(&rx).await?;
    is_forgotten(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_whose_lease_was_extended_is_not_made_again(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    t.pass(2).await;
    ensure_eq!(rx.extend_one(&lease.token, t.ticks(40)).await?, HELD, "an extend");
    is_forgotten(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_of_fewer_tasks_is_not_the_same(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    let both = attempt(2, "both")?;
    if t.can().attempt_memory.is_none() {
        return refused(rx.receive(&both).await);
    }
    let first = rx.receive(&both).await?;
    let again = rx.receive(&both).await?;
    ensure_eq!(tokens(&again), tokens(&first), "the tokens of the receive made again");
    let fewer = rx.receive(&attempt(1, "both")?).await?;
    let known = fewer.iter().any(|lease| tokens(&first).contains(&lease.token));
    ensure!(first.len() < 2 || !known, "half of a receive was handed out again");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_over_partitions_is_made_again_whole_or_not_at_all(t: Trial) -> Proof {
    let partitions = Partitions::new(5).map_err(Failure::new)?;
    let spec = QueueSpec { partitions, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b", "c", "d", "e", "f", "g"]).await?;
    let all = attempt(7, "all")?;
    if t.can().attempt_memory.is_none() {
        return refused(rx.receive(&all).await);
    }
    let sorted = |leases: &[Lease]| {
        let mut sorted = tokens(leases);
        sorted.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        sorted
    };
    let first = rx.receive(&all).await?;
    let again = rx.receive(&all).await?;
    ensure_eq!(sorted(&again), sorted(&first), "the tokens of the receive made again");
    let Some((one, others)) = first.split_last() else {
        return Err(Failure::new("no task was received"));
    };
    ensure_eq!(rx.complete(one).await?, DONE, "a complete");
    let anew = rx.receive(&all).await?;
    let known = anew.iter().any(|lease| tokens(others).contains(&lease.token));
    ensure!(!known, "a part of a receive was handed out again: {anew:?}");
    t.send(&spec.name, &["h"]).await?;
    let newest = t.take_with(&rx, &ReceiveOptions { limit: 1, ..all.clone() }).await?;
    ensure_eq!(crate::trial::texts(&newest), ["h"], "what a new receive of the name has");
    let again = rx.receive(&all).await?;
    ensure_eq!(tokens(&again), tokens(&newest), "the tokens of the new receive made again");
    Ok(Shown::Honoured)
}

pub(super) async fn a_receive_is_known_for_five_minutes(t: Trial) -> Proof {
    let (rx, lease) = held_by_name!(&t);
    if !t.time_stands_still() {
        // WHY: nobody waits five real minutes; a broker on real time shows a part of the sentence.
        t.pass(5).await;
        ensure_eq!(rx.receive(&attempt(1, "first")?).await?.len(), 1, "tasks received again");
        return Ok(Shown::Honoured);
    }
    let long = ATTEMPT_MEMORY * 2;
    ensure_eq!(rx.extend_one(&lease.token, long).await?, HELD, "an extend");
    t.send(rx.queue(), &["b"]).await?;
    let named = || attempt(1, "long").map(|options| options.leased_for(long));
    let held = t.take_with(&rx, &named()?).await?;
    t.pass_time(ATTEMPT_MEMORY - t.ticks(1)).await;
    ensure_eq!(tokens(&rx.receive(&named()?).await?), tokens(&held), "tokens just in time");
    t.pass_time(ATTEMPT_MEMORY - t.ticks(1)).await;
    ensure_eq!(tokens(&rx.receive(&named()?).await?), tokens(&held), "tokens, known anew");
    t.pass_time(ATTEMPT_MEMORY).await;
    let late = rx.receive(&named()?).await?;
    let known = late.iter().any(|lease| tokens(&held).contains(&lease.token));
    ensure!(!known, "a receive was known for longer than it is remembered");
    Ok(Shown::Honoured)
}
