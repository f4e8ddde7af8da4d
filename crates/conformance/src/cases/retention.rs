//! Retention: a task that is too old is dropped, unless it is in somebody's hands.

use tidegate_core::{QueueSpec, State};

use crate::trial::{
    Failure, Proof, Shown, Trial, ensure_eq, now_in, refused, retry_at_once, text,
};

fn kept_for(t: &Trial, ticks: u32) -> Result<QueueSpec, Failure> {
    Ok(QueueSpec { retention: Some(t.ticks(ticks)), ..t.short_lease("mail", 500)? })
}

pub(super) async fn a_task_older_than_its_retention_is_dropped(t: Trial) -> Proof {
    let spec = kept_for(&t, 100)?;
    if !t.can().retention {
        return refused(t.broker().declare(&spec).await);
    }
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["old"]).await?;
    t.pass(60).await;
    t.send(&spec.name, &["young"]).await?;
    t.pass(41).await;
    ensure_eq!(text(&t.take_one(&rx).await?), "young", "what is left");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_leased_task_is_dropped_when_it_comes_back(t: Trial) -> Proof {
    let spec = kept_for(&t, 50)?;
    if !t.can().retention {
        return refused(t.broker().declare(&spec).await);
    }
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["old"]).await?;
    let lease = t.take_one(&rx).await?;
    t.pass(51).await;
    let extended = rx.extend_one(&lease.token, t.ticks(500)).await?;
    ensure_eq!(extended, now_in(State::Leased), "an extend of a task that is too old");
    let settled = rx.settle_one(&lease.token, retry_at_once()).await?;
    ensure_eq!(settled, now_in(State::Done), "a retry of a task that is too old");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}
