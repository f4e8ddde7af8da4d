//! Enqueueing: one outcome per task, and what was sent is what is received.

use std::collections::BTreeSet;

use tidegate_core::capabilities::OrderingSupport;
use tidegate_core::{ErrorKind, NewTask, QueueSpec};

use crate::trial::{Failure, Proof, Shown, Trial, ensure, ensure_eq, fails_with, task, texts};

pub(super) async fn outcomes_come_in_the_order_of_the_tasks(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    t.start(&spec).await?;
    let tasks: Vec<NewTask> = ["a", "b", "c", "d", "e"].map(task).into();
    let outcomes = t.send_all(&spec.name, &tasks).await?;
    for (outcome, sent) in outcomes.iter().zip(&tasks) {
        ensure_eq!(outcome.id, sent.id, "the id in an outcome");
        ensure!(!outcome.deduplicated, "a task without a dedup key is a duplicate");
    }
    let grows = outcomes.is_sorted_by(|a, b| a.sequence < b.sequence);
    ensure!(grows, "sequences must grow with every task: {outcomes:?}");
    Ok(Shown::Honoured)
}

pub(super) async fn binary_and_empty_payloads_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = vec![0x80; 4_096.min(spec.payload_bytes_max)];
    for payload in [every_byte, Vec::new(), vec![0, 0], long] {
        let sent = NewTask::new("bytes", payload);
        t.send_all(&spec.name, std::slice::from_ref(&sent)).await?;
        let lease = t.take_one(&rx).await?;
        ensure_eq!(lease.task.payload, sent.payload, "the payload as received");
        let _ = rx.complete(&lease).await?;
    }
    Ok(Shown::Honoured)
}

pub(super) async fn kind_headers_and_key_survive(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let mut sent = NewTask::new("mail.welcome", "hello")
        .header("tenant", "Köln 🌊")
        .header("empty", "")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    if t.can().ordering != OrderingSupport::No {
        sent = sent.ordering_key("Ümlaut key");
    }
    t.send_all(&spec.name, std::slice::from_ref(&sent)).await?;
    let got = t.take_one(&rx).await?.task;
    ensure_eq!(got.id, sent.id, "the id as received");
    ensure_eq!(got.queue, spec.name, "the queue of a received task");
    ensure_eq!(got.kind, sent.kind, "the kind as received");
    ensure_eq!(got.headers, sent.headers, "the headers as received");
    ensure_eq!(got.ordering_key, sent.ordering_key, "the ordering key as received");
    ensure_eq!(got.dead_letter, None, "the dead letter of a live task");
    Ok(Shown::Honoured)
}

pub(super) async fn a_payload_over_the_limit_is_refused(t: Trial) -> Proof {
    let spec = QueueSpec { payload_bytes_max: 100, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    let fits = NewTask::new("bytes", vec![1; 100]);
    t.send_all(&spec.name, &[fits]).await?;
    let too_long = NewTask::new("bytes", vec![1; 101]);
    fails_with(t.broker().enqueue_one(&spec.name, too_long).await, ErrorKind::Invalid)?;
    t.take_one(&rx).await?;
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn a_batch_larger_than_the_limit_is_split(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let count = (t.can().batch_max.saturating_mul(2) + 1).min(2_500);
    let tasks: Vec<NewTask> = (0..count).map(|n| task(&n.to_string())).collect();
    let outcomes = t.send_all(&spec.name, &tasks).await?;
    let sequences: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.sequence).collect();
    ensure_eq!(sequences.len(), count, "sequences of their own");
    let drained: BTreeSet<String> = t.drain(&rx).await?.into_iter().collect();
    ensure_eq!(drained.len(), count, "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn a_refused_task_is_named_and_leaves_the_others_alone(t: Trial) -> Proof {
    let spec = QueueSpec { payload_bytes_max: 10, ..t.spec("mail")? };
    let rx = t.start(&spec).await?;
    let tasks = [task("first"), NewTask::new("too.long", vec![1; 11]), task("last")];
    let mut outcomes = t.broker().enqueue(&spec.name, &tasks).await?.into_iter();
    let (Some(Ok(_)), Some(Err(refused)), Some(Ok(_)), None) =
        (outcomes.next(), outcomes.next(), outcomes.next(), outcomes.next())
    else {
        return Err(Failure::new("the middle task alone should be refused"));
    };
    ensure_eq!(refused.kind(), ErrorKind::Invalid, "the refusal");
    ensure!(refused.to_string().contains("too.long"), "the error does not name the task: {refused}");
    let mut left = texts(&t.take(&rx, 2).await?);
    left.sort();
    ensure_eq!(left, ["first", "last"], "tasks that came out");
    Ok(Shown::Honoured)
}

pub(super) async fn an_empty_batch_enqueues_nothing(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    ensure_eq!(t.broker().enqueue(&spec.name, &[]).await?.len(), 0, "outcomes of no tasks");
    t.nothing(&rx).await?;
    Ok(Shown::Honoured)
}

pub(super) async fn the_same_task_sent_twice_is_two_tasks(t: Trial) -> Proof {
    let spec = t.spec("mail")?;
    let rx = t.start(&spec).await?;
    let sent = task("twice");
    let outcomes = t.send_all(&spec.name, &[sent.clone(), sent]).await?;
    let sequences: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.sequence).collect();
    ensure_eq!(sequences.len(), 2, "sequences of their own");
    ensure_eq!(t.drain(&rx).await?.len(), 2, "tasks that came out");
    Ok(Shown::Honoured)
}
