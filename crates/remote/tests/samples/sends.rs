//! Sending, and settling and enqueueing in one step.

use bytes::Bytes;
use tidegate_remote::proto::{
    Dedup, EnqueueRequest, EnqueueResponse, Enqueued, FollowUp, NewTask, SettleAndEnqueueRequest,
    SettleAndEnqueueResponse, dedup,
};

use super::words::error;
use super::works::verdict;
use super::{Sample, sample};

pub(super) fn all() -> Vec<Sample> {
    let credit = EnqueueResponse { credit_bytes: 403, ..Default::default() };
    vec![
        sample("EnqueueRequest", request()),
        sample("EnqueueResponse", response()),
        sample("EnqueueResponse.credit", credit),
        sample("NewTask", new_task()),
        sample("NewTask.least", NewTask { kind: "mail".into(), ..Default::default() }),
        sample("Dedup.window", dedup(dedup::Unique::WindowUs(421))),
        sample("Dedup.no-window", dedup(dedup::Unique::WindowUs(0))),
        sample("Dedup.until-done", dedup(dedup::Unique::UntilDone(true))),
        sample("Enqueued", enqueued()),
        sample("Enqueued.refused", refused()),
        sample("FollowUp", follow_up()),
        sample("SettleAndEnqueueRequest", both()),
        sample("SettleAndEnqueueResponse", both_answered()),
    ]
}

fn request() -> EnqueueRequest {
    EnqueueRequest { id: 401, queue: "mail".into(), tasks: vec![new_task(), NewTask::default()] }
}

fn response() -> EnqueueResponse {
    EnqueueResponse {
        id: 402,
        outcomes: vec![enqueued(), refused()],
        error: Some(error(8, 2)),
        credit_bytes: 404,
    }
}

fn new_task() -> NewTask {
    NewTask {
        id: Bytes::from_static(b"0123456789abcdef"),
        kind: "mail.welcome".into(),
        payload: Bytes::from_static(b"{\"user\":42}"),
        headers: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        delay_us: 411,
        priority: 255,
        dedup: Some(dedup(dedup::Unique::UntilDone(true))),
        ordering_key: Some("user-42".into()),
    }
}

fn dedup(unique: dedup::Unique) -> Dedup {
    Dedup { key: "once".into(), unique: Some(unique) }
}

fn enqueued() -> Enqueued {
    let id = Bytes::from_static(b"fedcba9876543210");
    Enqueued { id, sequence: 431, deduplicated: true, error: None }
}

fn refused() -> Enqueued {
    Enqueued { error: Some(error(5, 2)), ..Default::default() }
}

fn follow_up() -> FollowUp {
    FollowUp { queue: "bills".into(), task: Some(new_task()) }
}

fn both() -> SettleAndEnqueueRequest {
    SettleAndEnqueueRequest {
        queue: "mail".into(),
        token: Bytes::from_static(b"token"),
        verdict: Some(verdict()),
        follow_ups: vec![follow_up()],
    }
}

fn both_answered() -> SettleAndEnqueueResponse {
    SettleAndEnqueueResponse { outcome: 4, enqueued: vec![enqueued()] }
}
