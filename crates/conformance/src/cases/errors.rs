//! Errors: what kind, what was being done, and about what.

use std::time::Duration;

use tidegate_core::error::Operation;
use tidegate_core::limits::WAIT_MAX;
use tidegate_core::{
    Capacity, ErrorKind, ListOptions, QueueSpec, ReceiveOptions, RetryPolicy, SessionOptions,
};

use crate::trial::{
    Failure, Proof, Shown, Trial, begin, ensure, ensure_eq, fails_with, longest_lease, named,
    task,
};

pub(super) async fn an_unknown_queue_is_not_found(t: Trial) -> Proof {
    let (broker, missing) = (t.broker(), named("missing")?);
    fails_with(broker.enqueue(&missing, &[task("a")]).await, ErrorKind::NotFound)?;
    fails_with(broker.open(&missing, &SessionOptions::default()).await, ErrorKind::NotFound)?;
    let Ok(admin) = broker.admin() else {
        return Ok(Shown::Honoured);
    };
    fails_with(admin.purge(&missing).await, ErrorKind::NotFound)?;
    fails_with(admin.pause(&missing, true).await, ErrorKind::NotFound)?;
    fails_with(admin.redrive(&missing, &Default::default()).await, ErrorKind::NotFound)?;
    fails_with(admin.purge_dead(&missing, &Default::default()).await, ErrorKind::NotFound)?;
    fails_with(admin.delete(&missing).await, ErrorKind::NotFound)?;
    Ok(Shown::Honoured)
}

pub(super) async fn after_a_close_everything_is_closed(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    t.send(&spec.name, &["a", "b"]).await?;
    let lease = t.take_one(&rx).await?;
    let broker = t.broker();
    broker.close().await?;
    broker.close().await?;
    const CLOSED: ErrorKind = ErrorKind::Closed;
    fails_with(broker.declare(&spec).await, CLOSED)?;
    fails_with(broker.enqueue(&spec.name, &[task("c")]).await, CLOSED)?;
    fails_with(broker.open(&spec.name, &SessionOptions::default()).await, CLOSED)?;
    fails_with(rx.receive(&ReceiveOptions::up_to(1)).await, CLOSED)?;
    fails_with(rx.complete(&lease).await, CLOSED)?;
    fails_with(rx.extend_one(&lease.token, t.ticks(9)).await, CLOSED)?;
    if let Ok(inspect) = broker.inspect() {
        let list = ListOptions { state: None, after: None, limit: 1 };
        fails_with(inspect.queues().await, CLOSED)?;
        fails_with(inspect.list(&spec.name, &list).await, CLOSED)?;
    }
    if let Ok(admin) = broker.admin() {
        fails_with(admin.purge(&spec.name).await, CLOSED)?;
    }
    Ok(Shown::Honoured)
}

pub(super) async fn a_close_wakes_who_waits(t: Trial) -> Proof {
    let rx = t.start(&t.spec("mail")?).await?;
    let options = ReceiveOptions::up_to(1).waiting(WAIT_MAX);
    let mut waiting = Box::pin(rx.receive(&options));
    ensure!(begin(&mut waiting).await.is_none(), "a receive did not wait at all");
    t.broker().close().await?;
    match waiting.await {
        Err(error) if error.kind() == ErrorKind::Closed => Ok(Shown::Honoured),
        Ok(leases) if leases.is_empty() => Ok(Shown::Honoured),
        answer => Err(Failure::new(format!("a closed broker answered {answer:?}"))),
    }
}

pub(super) async fn an_error_says_what_it_is_about(t: Trial) -> Proof {
    let missing = named("missing")?;
    let failed = t.broker().enqueue(&missing, &[task("a")]).await;
    let Err(error) = failed else {
        return Err(Failure::new("an enqueue to a queue that does not exist succeeded"));
    };
    let text = error.to_string();
    ensure!(text.contains("\"missing\""), "the queue is not named: {text}");
    ensure_eq!(error.operation(), Operation::Enqueue, "what was being done");
    ensure!(!error.is_retryable(), "sending again does not make the queue");
    Ok(Shown::Honoured)
}

pub(super) async fn an_invalid_spec_is_refused(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let no_attempts = RetryPolicy { max_attempts: 0, ..RetryPolicy::default() };
    for invalid in [
        QueueSpec { lease: Duration::ZERO, ..spec.clone() },
        QueueSpec { capacity: Capacity::Bounded(0), ..spec.clone() },
        QueueSpec { payload_bytes_max: 0, ..spec.clone() },
        QueueSpec { retry: no_attempts, ..spec.clone() },
    ] {
        fails_with(t.broker().declare(&invalid).await, ErrorKind::Invalid)?;
    }
    let too_long = longest_lease(&t.can()) + Duration::from_secs(1);
    match t.broker().declare(&QueueSpec { lease: too_long, ..spec.clone() }).await {
        Err(e) if matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Unsupported) => {}
        answer => return Err(Failure::new(format!("a lease too long was taken: {answer:?}"))),
    }
    let opened = t.broker().open(&spec.name, &SessionOptions::default()).await;
    fails_with(opened, ErrorKind::NotFound)?;
    Ok(Shown::Honoured)
}
