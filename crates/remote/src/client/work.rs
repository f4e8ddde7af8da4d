//! The stream of work: steps of all sessions go out as they come, their answers come back.

use std::sync::Arc;

use futures_util::StreamExt;
use tidegate_core::{Error, ErrorKind, Operation, QueueName, Result};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::line::{Calls, lost};
use super::pending::Pending;
use crate::proto::{self, work_request::Step, work_response::Answer};
use crate::wire::error::{error_from, status_from};

/// The stream of work of a line. Ends with it, once all steps are answered.
#[derive(Debug)]
pub(super) struct Work {
    shared: Arc<Shared>,
    /// Dropped with it.
    _open: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    steps: mpsc::UnboundedSender<proto::WorkRequest>,
    pending: Pending<Waiting>,
}

/// A step that waits for its answer.
#[derive(Debug)]
struct Waiting {
    session: u32,
    /// Parts of an answer that is not complete.
    parts: Vec<proto::Lease>,
    tell: oneshot::Sender<Told>,
}

/// A whole answer. Leases that nobody takes any more are given back.
type Told = Result<Answer>;

impl Work {
    /// Opens the stream.
    pub(super) async fn start(mut calls: Calls) -> Result<Self> {
        const OPEN: Operation = Operation::OpenSession;
        let (steps, outgoing) = mpsc::unbounded_channel();
        let answers = calls.work(UnboundedReceiverStream::new(outgoing)).await;
        let answers = answers.map_err(|status| status_from(status, OPEN))?.into_inner();
        let shared = Arc::new(Shared { steps, pending: Pending::new() });
        let (open, dropped) = oneshot::channel();
        tokio::spawn(hand_out(answers, shared.clone(), dropped));
        Ok(Self { shared, _open: open })
    }

    /// Drops every step that waits for its answer.
    pub(super) fn end(&self) {
        self.shared.pending.end();
    }

    /// Takes a step and waits for its answer.
    pub(super) async fn step(
        &self,
        session: u32,
        step: Step,
        doing: Operation,
        queue: &QueueName,
    ) -> Result<Answer> {
        let (tell, told) = oneshot::channel();
        let waiting = Waiting { session, parts: Vec::new(), tell };
        let id = self.shared.pending.add(waiting).ok_or_else(|| lost(doing).on(queue))?;
        let mut cancel =
            matches!(step, Step::Credit(_)).then(|| Cancel { work: self, session, id });
        self.shared.send(proto::WorkRequest { id, session, step: Some(step) });
        let told = told.await;
        if let Some(cancel) = &mut cancel {
            cancel.id = 0;
        }
        told.map_err(|_| lost(doing).on(queue))?
    }
}

/// Takes a credit back whose receive was dropped.
struct Cancel<'a> {
    work: &'a Work,
    session: u32,
    /// 0 once it is answered.
    id: u64,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.id != 0 {
            let step = Step::Cancel(proto::Cancel { credit: self.id });
            self.work.shared.send_and_forget(self.session, step);
        }
    }
}

impl Shared {
    fn send(&self, request: proto::WorkRequest) {
        // A stream that has ended has dropped its pending steps.
        let _ = self.steps.send(request);
    }

    fn send_and_forget(&self, session: u32, step: Step) {
        self.send(proto::WorkRequest { id: self.pending.number(), session, step: Some(step) });
    }

    fn answer(&self, id: u64, answer: Option<Answer>) {
        let complete = match answer {
            None => Err(unknown_answer()),
            Some(Answer::Error(error)) => Err(error_from(error)),
            Some(Answer::Leases(leases)) if leases.more => {
                let parts = leases.leases;
                self.pending.look(id, |waiting| waiting.parts.extend(parts));
                return;
            }
            Some(answer) => Ok(answer),
        };
        let Some(Waiting { session, parts, tell }) = self.pending.take(id) else { return };
        let complete = complete.map(|answer| with_parts(answer, parts));
        if let Err(Ok(Answer::Leases(leases))) = tell.send(complete) {
            self.give_back(session, leases.leases);
        }
    }

    /// Gives back what a receive was handed that nobody waits for any more.
    fn give_back(&self, session: u32, leases: Vec<proto::Lease>) {
        let release = |lease: proto::Lease| proto::Decision {
            token: lease.token,
            verdict: Some(proto::Verdict {
                kind: Some(proto::verdict::Kind::Release(proto::Release { after_us: 0 })),
            }),
        };
        let decisions: Vec<_> = leases.into_iter().map(release).collect();
        if !decisions.is_empty() {
            self.send_and_forget(session, Step::Settle(proto::Settle { decisions }));
        }
    }
}

/// An answer with the parts that came before it.
fn with_parts(answer: Answer, mut parts: Vec<proto::Lease>) -> Answer {
    match answer {
        Answer::Leases(last) if !parts.is_empty() => {
            parts.extend(last.leases);
            Answer::Leases(proto::Leases { leases: parts, more: false })
        }
        answer => answer,
    }
}

/// Hands answers to those who wait for them, until the stream ends. When nobody takes steps any more and
/// all are answered, ends it.
async fn hand_out(
    mut answers: Streaming<proto::WorkResponse>,
    shared: Arc<Shared>,
    mut dropped: oneshot::Receiver<()>,
) {
    let mut is_dropped = false;
    while !is_dropped || !shared.pending.is_empty() {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(Ok(proto::WorkResponse { id, answer })) => shared.answer(id, answer),
                _ => break,
            },
            _ = &mut dropped, if !is_dropped => is_dropped = true,
        }
    }
    shared.pending.end();
    // WHY: what gives leases back goes out before the end of the steps, and the server answers it.
    drop(shared);
    while let Some(Ok(_)) = answers.next().await {}
}

fn unknown_answer() -> Error {
    let why = "the server's answer is of a kind that this version does not know";
    Error::new(ErrorKind::Unexpected, Operation::Receive, why)
}
