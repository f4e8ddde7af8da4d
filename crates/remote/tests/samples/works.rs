//! Receiving, settling and extending.

use bytes::Bytes;
use tidegate_remote::proto::{
    Cancel, Close, Closed, Complete, Credit, DeadLetter, DeadLetterVerdict, Decision, Extend,
    Extension, Lease, Leases, Open, Opened, Outcomes, Release, Retry, Settle, Task, Verdict,
    WorkRequest, WorkResponse, verdict, work_request, work_response,
};

use super::words::error;
use super::{Sample, sample};

pub(super) fn all() -> Vec<Sample> {
    steps().into_iter().chain(answers()).chain(parts()).chain(verdicts()).collect()
}

fn steps() -> Vec<Sample> {
    use work_request::Step;
    let step = |step| WorkRequest { id: 501, session: 502, step: Some(step) };
    vec![
        sample("WorkRequest.open", step(Step::Open(open()))),
        sample("WorkRequest.credit", step(Step::Credit(credit()))),
        sample("WorkRequest.cancel", step(Step::Cancel(Cancel { credit: 503 }))),
        sample("WorkRequest.settle", step(Step::Settle(settle()))),
        sample("WorkRequest.extend", step(Step::Extend(extend()))),
        sample("WorkRequest.close", step(Step::Close(Close { keep: true }))),
    ]
}

fn answers() -> Vec<Sample> {
    use work_response::Answer;
    let answer = |answer| WorkResponse { id: 511, answer: Some(answer) };
    vec![
        sample("WorkResponse.error", answer(Answer::Error(error(9, 4)))),
        sample("WorkResponse.opened", answer(Answer::Opened(Opened {}))),
        sample("WorkResponse.leases", answer(Answer::Leases(leases()))),
        sample("WorkResponse.outcomes", answer(Answer::Outcomes(outcomes()))),
        sample("WorkResponse.closed", answer(Answer::Closed(Closed {}))),
    ]
}

fn parts() -> Vec<Sample> {
    vec![
        sample("Open", open()),
        sample("Opened", Opened {}),
        sample("Credit", credit()),
        sample("Credit.stands", Credit { wait_us: None, lease_us: None, ..credit() }),
        sample("Credit.named", Credit { attempt_id: "attempt-1".into(), ..credit() }),
        sample("Credit.no-wait", Credit { wait_us: Some(0), ..credit() }),
        sample("Cancel", Cancel { credit: 504 }),
        sample("Leases", leases()),
        sample("Lease", lease()),
        sample("Task", task()),
        sample("DeadLetter", dead_letter()),
        sample("Settle", settle()),
        sample("Decision", decision()),
        sample("Extend", extend()),
        sample("Extension", extension()),
        sample("Outcomes", outcomes()),
        sample("Close", Close { keep: true }),
        sample("Close.release", Close { keep: false }),
        sample("Closed", Closed {}),
    ]
}

fn verdicts() -> Vec<Sample> {
    use verdict::Kind;
    let verdict = |kind| Verdict { kind: Some(kind) };
    let retry = || Retry { after_us: 521, error: Some("timeout".into()) };
    let release = Release { after_us: 522 };
    let dead = || DeadLetterVerdict { reason: "no such user".into() };
    vec![
        sample("Verdict.complete", verdict(Kind::Complete(Complete {}))),
        sample("Verdict.retry", verdict(Kind::Retry(retry()))),
        sample("Verdict.release", verdict(Kind::Release(release))),
        sample("Verdict.dead-letter", verdict(Kind::DeadLetter(dead()))),
        sample("Complete", Complete {}),
        sample("Retry", retry()),
        sample("Release", release),
        sample("DeadLetterVerdict", dead()),
    ]
}

fn open() -> Open {
    Open { queue: "mail".into(), member: Some("worker-1".into()) }
}

fn credit() -> Credit {
    Credit {
        limit: 531,
        wait_us: Some(532),
        lease_us: Some(533),
        per_key: 534,
        attempt_id: String::new(),
    }
}

fn leases() -> Leases {
    Leases { leases: vec![lease(), Lease::default()], more: true }
}

fn lease() -> Lease {
    let token = Bytes::from_static(b"token");
    Lease { task: Some(task()), token, until_ms: 541, duration_us: 542 }
}

pub(super) fn task() -> Task {
    Task {
        id: Bytes::from_static(b"0123456789abcdef"),
        queue: "mail".into(),
        kind: "mail.welcome".into(),
        payload: Bytes::from_static(b"{\"user\":42}"),
        headers: [("tenant".into(), "acme".into())].into(),
        priority: 255,
        ordering_key: Some("user-42".into()),
        partition: 551,
        sequence: 552,
        deliveries: 553,
        attempt: 554,
        enqueued_at_ms: 555,
        last_error: Some("timeout".into()),
        dead_letter: Some(dead_letter()),
    }
}

pub(super) fn dead_letter() -> DeadLetter {
    DeadLetter {
        source: "mail.first".into(),
        reason: "attempts exhausted".into(),
        error: Some("refused".into()),
        attempts: 561,
        died_at_ms: 562,
    }
}

fn settle() -> Settle {
    Settle { decisions: vec![decision(), Decision::default()] }
}

fn decision() -> Decision {
    Decision { token: Bytes::from_static(b"token"), verdict: Some(verdict()) }
}

pub(super) fn verdict() -> Verdict {
    Verdict { kind: Some(verdict::Kind::Complete(Complete {})) }
}

fn extend() -> Extend {
    Extend { extensions: vec![extension()] }
}

fn extension() -> Extension {
    Extension { token: Bytes::from_static(b"token"), duration_us: 571 }
}

/// All of them: the list is one field, packed.
fn outcomes() -> Outcomes {
    Outcomes { outcomes: (0..10).collect() }
}
