//! Retries: a failed attempt comes back, counted and with its error.

use std::time::Duration;

use tidegate_core::capabilities::{Delay, DeliveryCount};
use tidegate_core::limits::TEXT_BYTES_MAX;
use tidegate_core::{State, Verdict};

use crate::trial::{DONE, Proof, Shown, Trial, ensure, ensure_eq, now_in, refused, retry_at_once};

fn failed_with(error: &str, after: Duration) -> Verdict {
    Verdict::Retry { after, error: Some(error.into()) }
}

pub(super) async fn a_retry_without_a_delay_comes_back_at_once_with_its_error(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    ensure_eq!(lease.task.last_error, None, "the error before the first failure");
    let verdict = failed_with("smtp: 451", Duration::ZERO);
    ensure_eq!(rx.settle_one(&lease.token, verdict).await?, now_in(State::Ready), "a retry");
    let again = t.take_one(&rx).await?;
    ensure_eq!(again.task.id, lease.task.id, "the task that came back");
    ensure_eq!(again.task.last_error.as_deref(), Some("smtp: 451"), "the error of the attempt");
    Ok(Shown::Honoured)
}

pub(super) async fn a_retry_comes_back_after_its_delay(t: Trial) -> Proof {
    let spec = t.short_lease("mail", 5)?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let settled = rx.settle_one(&lease.token, failed_with("later", t.ticks(20))).await;
    if t.can().retry_delay == Delay::No {
        refused(settled)?;
        ensure_eq!(rx.complete(&lease).await?, DONE, "a complete after the refusal");
        return Ok(Shown::Refused);
    }
    ensure_eq!(settled?, now_in(State::Scheduled), "a retry with a delay");
    t.pass(10).await;
    t.nothing(&rx).await?;
    t.pass(11).await;
    let again = t.take_one(&rx).await?;
    if t.can().deliveries == DeliveryCount::Counted {
        ensure_eq!(again.task.deliveries, 2, "deliveries of a task that waited past its lease");
    }
    Ok(Shown::Honoured)
}

pub(super) async fn deliveries_and_attempts_are_counted(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    for nth in 1..=4 {
        let lease = t.take_one(&rx).await?;
        let counts = (lease.task.deliveries, lease.task.attempt);
        if t.can().deliveries == DeliveryCount::AtLeast {
            ensure!(counts.0 >= 1 && counts.0 <= nth, "not a lower bound of {nth}: {counts:?}");
        } else {
            ensure_eq!(counts, (nth, nth), "deliveries and attempt");
        }
        let _ = rx.settle_one(&lease.token, retry_at_once()).await?;
    }
    match t.can().deliveries {
        DeliveryCount::Counted => Ok(Shown::Honoured),
        DeliveryCount::AtLeast => Ok(Shown::Refused),
    }
}

pub(super) async fn a_long_error_is_cut_to_what_is_kept(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a"]).await?;
    let lease = t.take_one(&rx).await?;
    let long = "ü".repeat(TEXT_BYTES_MAX);
    let _ = rx.settle_one(&lease.token, failed_with(&long, Duration::ZERO)).await?;
    let kept = t.take_one(&rx).await?.task.last_error.unwrap_or_default();
    ensure_eq!(kept.len(), TEXT_BYTES_MAX, "bytes of the error that are kept");
    ensure!(long.starts_with(&kept), "the error was changed, not cut");
    Ok(Shown::Honoured)
}
