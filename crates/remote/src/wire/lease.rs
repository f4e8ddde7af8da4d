//! Leases, and what is decided about them.

use std::time::Duration;

use tidegate_core::{
    Lease, LeaseToken, Lost, Operation, QueueName, Result, Settled, State, Timestamp, Verdict,
};

use super::task::{task_from, task_to};
use super::time::{duration, micros};
use super::{newer, unreadable};
use crate::proto;

const SETTLE: Operation = Operation::Settle;

pub(crate) fn lease_to(lease: Lease) -> proto::Lease {
    let Lease { task, token, until, duration } = lease;
    proto::Lease {
        task: Some(task_to(task, true)),
        token: token_to(&token),
        until_ms: until.as_millis(),
        duration_us: micros(duration),
    }
}

pub(crate) fn lease_from(lease: proto::Lease, queue: &QueueName) -> Result<Lease> {
    const RECEIVE: Operation = Operation::Receive;
    let proto::Lease { task, token, until_ms, duration_us } = lease;
    let task = task.ok_or_else(|| unreadable(RECEIVE, "a lease has no task").on(queue))?;
    Ok(Lease {
        task: task_from(task, queue, RECEIVE)?,
        token: LeaseToken::from_bytes(token),
        until: Timestamp::from_millis(until_ms),
        duration: duration(duration_us),
    })
}

pub(crate) fn token_to(token: &LeaseToken) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(token.as_bytes())
}

pub(crate) fn verdict_to(verdict: &Verdict) -> proto::Verdict {
    use proto::verdict::Kind;
    let kind = match verdict {
        Verdict::Complete => Kind::Complete(proto::Complete {}),
        Verdict::Retry { after, error } => {
            Kind::Retry(proto::Retry { after_us: micros(*after), error: error.clone() })
        }
        Verdict::Release { after } => Kind::Release(proto::Release { after_us: micros(*after) }),
        Verdict::DeadLetter { reason } => {
            Kind::DeadLetter(proto::DeadLetterVerdict { reason: reason.clone() })
        }
    };
    proto::Verdict { kind: Some(kind) }
}

pub(crate) fn verdict_from(verdict: Option<proto::Verdict>) -> Result<Verdict> {
    use proto::verdict::Kind;
    let kind = verdict.and_then(|verdict| verdict.kind);
    Ok(match kind.ok_or_else(|| unreadable(SETTLE, "a decision has no verdict"))? {
        Kind::Complete(proto::Complete {}) => Verdict::Complete,
        Kind::Retry(proto::Retry { after_us, error }) => {
            Verdict::Retry { after: duration(after_us), error }
        }
        Kind::Release(proto::Release { after_us }) => {
            Verdict::Release { after: duration(after_us) }
        }
        Kind::DeadLetter(proto::DeadLetterVerdict { reason }) => Verdict::DeadLetter { reason },
    })
}

pub(crate) fn decision_to((token, verdict): &(LeaseToken, Verdict)) -> proto::Decision {
    proto::Decision { token: token_to(token), verdict: Some(verdict_to(verdict)) }
}

pub(crate) fn decision_from(decision: proto::Decision) -> Result<(LeaseToken, Verdict)> {
    let proto::Decision { token, verdict } = decision;
    Ok((LeaseToken::from_bytes(token), verdict_from(verdict)?))
}

pub(crate) fn extension_to((token, length): &(LeaseToken, Duration)) -> proto::Extension {
    proto::Extension { token: token_to(token), duration_us: micros(*length) }
}

pub(crate) fn extension_from(extension: proto::Extension) -> (LeaseToken, Duration) {
    let proto::Extension { token, duration_us } = extension;
    (LeaseToken::from_bytes(token), duration(duration_us))
}

pub(crate) const fn settled_to(settled: Settled) -> proto::Outcome {
    match settled {
        Settled::Done { state: State::Scheduled } => proto::Outcome::Scheduled,
        Settled::Done { state: State::Ready } => proto::Outcome::Ready,
        Settled::Done { state: State::Leased } => proto::Outcome::Leased,
        Settled::Done { state: State::Done } => proto::Outcome::Done,
        Settled::Done { state: State::Dead } => proto::Outcome::Dead,
        Settled::AlreadyDone => proto::Outcome::AlreadyDone,
        Settled::Lost(Lost::Expired) => proto::Outcome::LostExpired,
        Settled::Lost(Lost::Superseded) => proto::Outcome::LostSuperseded,
        Settled::Lost(Lost::NotFound) => proto::Outcome::LostNotFound,
    }
}

pub(crate) fn settled_from(outcome: i32) -> Result<Settled> {
    let done = |state| Settled::Done { state };
    Ok(match proto::Outcome::try_from(outcome) {
        Ok(proto::Outcome::Scheduled) => done(State::Scheduled),
        Ok(proto::Outcome::Ready) => done(State::Ready),
        Ok(proto::Outcome::Leased) => done(State::Leased),
        Ok(proto::Outcome::Done) => done(State::Done),
        Ok(proto::Outcome::Dead) => done(State::Dead),
        Ok(proto::Outcome::AlreadyDone) => Settled::AlreadyDone,
        Ok(proto::Outcome::LostExpired) => Settled::Lost(Lost::Expired),
        Ok(proto::Outcome::LostSuperseded) => Settled::Lost(Lost::Superseded),
        Ok(proto::Outcome::LostNotFound) => Settled::Lost(Lost::NotFound),
        Ok(proto::Outcome::Unspecified) | Err(_) => {
            return Err(newer(&unreadable(SETTLE, format!("outcome {outcome} is not known"))));
        }
    })
}
