//! One consumer's place at a queue, on whatever line there is.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    Error, ErrorKind, Held, Lease, LeaseToken, Membership, Operation, QueueName, ReceiveOptions,
    Result, Session, SessionOptions, Settled, Verdict,
};

use super::line::Line;
use super::link::Link;
use crate::proto::{self, work_request::Step, work_response::Answer};
use crate::wire::lease::{decision_to, extension_to, lease_from, settled_from};
use crate::wire::time::micros;

/// A session at the other end. When its line ends it is opened again on the next one: tokens of timed
/// leases are good in any session.
pub(super) struct RemoteSession {
    link: Arc<Link>,
    queue: QueueName,
    member: Option<String>,
    opened: Mutex<Option<Opened>>,
    closed: AtomicBool,
}

/// The session's number on a line.
#[derive(Clone)]
struct Opened {
    line: Arc<Line>,
    session: u32,
}

impl fmt::Debug for RemoteSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteSession").field(&self.queue).finish()
    }
}

impl RemoteSession {
    pub(super) async fn open(
        link: Arc<Link>,
        queue: &QueueName,
        options: &SessionOptions,
    ) -> Result<Self> {
        // WHY: whoever holds the leases of a session is the server's client, whatever is asked for.
        let SessionOptions { membership, holder: _ } = options;
        let member = match membership {
            Membership::Shared => None,
            Membership::Member(id) => Some(id.clone()),
        };
        let (opened, closed) = (Mutex::new(None), AtomicBool::new(false));
        let session = Self { link, queue: queue.clone(), member, opened, closed };
        session.place(Operation::OpenSession).await?;
        Ok(session)
    }

    /// The session on the line that is up; opened if it is not.
    async fn place(&self, doing: Operation) -> Result<Opened> {
        if self.closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).on(&self.queue));
        }
        match self.here() {
            Some(opened) => Ok(opened),
            // WHY: boxed, so that calls are small as long as there is a line.
            None => Box::pin(self.open_anew(doing)).await,
        }
    }

    /// The session on the line that is up, if it is open there.
    fn here(&self) -> Option<Opened> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.as_ref().filter(|opened| opened.line.is_open()).cloned()
    }

    async fn open_anew(&self, doing: Operation) -> Result<Opened> {
        let line = self.link.line(doing).await.map_err(|error| error.on(&self.queue))?;
        let opened = Opened { session: line.next_session(), line };
        let (queue, member) = (self.queue.to_string(), self.member.clone());
        let open = || Step::Open(proto::Open { queue: queue.clone(), member: member.clone() });
        self.take(&opened, open, doing).await?;
        // WHY: where two calls opened one each, either will do, and the other ends with the line.
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.clone());
        Ok(opened)
    }

    async fn take(&self, at: &Opened, step: impl Fn() -> Step, doing: Operation) -> Result<Answer> {
        let work = at.line.work().await.map_err(|error| error.during(doing).on(&self.queue))?;
        let answer = work.step(at.session, step, doing, &self.queue).await;
        answer.map_err(|error| self.link.or_closed(error))
    }

    async fn outcomes(
        &self,
        step: impl Fn() -> Step,
        count: usize,
        doing: Operation,
    ) -> Result<Vec<Settled>> {
        let place = self.place(doing).await?;
        match self.take(&place, step, doing).await? {
            Answer::Outcomes(outcomes) if outcomes.outcomes.len() == count => {
                outcomes.outcomes.into_iter().map(settled_from).collect()
            }
            _ => Err(self.stranger(doing)),
        }
    }

    fn stranger(&self, doing: Operation) -> Error {
        let why = "the server's answer does not fit what it was asked";
        Error::new(ErrorKind::Unexpected, doing, why).on(&self.queue)
    }
}

#[async_trait]
impl Session for RemoteSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        const RECEIVE: Operation = Operation::Receive;
        let ReceiveOptions { limit, wait, lease, per_key, attempt_id } = options;
        let credit = || proto::Credit {
            limit: u32::try_from(*limit).unwrap_or(u32::MAX),
            wait_us: Some(micros(*wait)),
            lease_us: lease.map(micros),
            per_key: u32::try_from(*per_key).unwrap_or(u32::MAX),
            attempt_id: attempt_id.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()),
        };
        let place = self.place(RECEIVE).await?;
        match self.take(&place, || Step::Credit(credit()), RECEIVE).await? {
            Answer::Leases(leases) => {
                leases.leases.into_iter().map(|lease| lease_from(lease, &self.queue)).collect()
            }
            _ => Err(self.stranger(RECEIVE)),
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        let step = || {
            let decisions = verdicts.iter().map(decision_to).collect();
            Step::Settle(proto::Settle { decisions })
        };
        self.outcomes(step, verdicts.len(), Operation::Settle).await
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        let step = || {
            let extensions = leases.iter().map(extension_to).collect();
            Step::Extend(proto::Extend { extensions })
        };
        self.outcomes(step, leases.len(), Operation::Extend).await
    }

    async fn close(&self, held: Held) -> Result<()> {
        const CLOSE: Operation = Operation::Close;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        // WHY: a session whose line is gone has ended with it.
        let Some(opened) = opened.filter(|opened| opened.line.is_open()) else { return Ok(()) };
        let step = || Step::Close(proto::Close { keep: held == Held::Keep });
        self.take(&opened, step, CLOSE).await.map(drop)
    }
}
