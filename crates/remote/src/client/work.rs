//! The stream of work: steps of all sessions go out as they come, their answers come back.

use std::sync::Arc;

use futures_util::StreamExt;
use prost::Message;
use tidegate_core::{Error, ErrorKind, Operation, QueueName, Result};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;

use super::line::{Calls, lost};
use super::pending::Pending;
use super::together::{Call, Joins, Outgoing, Together, is_refusal};
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
    steps: mpsc::UnboundedSender<Call<proto::WorkRequest>>,
    together: Arc<Together>,
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

/// A whole answer, or none, for the step was refused together with others. Leases that nobody takes any
/// more are given back.
type Told = Option<Result<Answer>>;

impl Work {
    /// Opens the stream.
    pub(super) async fn start(mut calls: Calls, batch_max: usize) -> Result<Self> {
        const OPEN: Operation = Operation::OpenSession;
        let (steps, outgoing) = mpsc::unbounded_channel();
        let together = Arc::new(Together::default());
        let answers = calls.work(Outgoing::new(outgoing, together.clone(), batch_max)).await;
        let answers = answers.map_err(|status| status_from(status, OPEN))?.into_inner();
        let shared = Arc::new(Shared { steps, together, pending: Pending::new() });
        let (open, dropped) = oneshot::channel();
        tokio::spawn(hand_out(answers, shared.clone(), dropped));
        Ok(Self { shared, _open: open })
    }

    /// Drops every step that waits for its answer.
    pub(super) fn end(&self) {
        self.shared.pending.end();
    }

    /// Takes a step and waits for its answer. The step is made and taken again, alone, if it was
    /// refused together with others: it need not have been the one to blame.
    pub(super) async fn step(
        &self,
        session: u32,
        step: impl Fn() -> Step,
        doing: Operation,
        queue: &QueueName,
    ) -> Result<Answer> {
        for alone in [false, true] {
            let told = self.told(session, step(), alone).await;
            if let Some(answer) = told.ok_or_else(|| lost(doing).on(queue))? {
                return answer;
            }
        }
        Err(lost(doing).on(queue))
    }

    /// What a step is told; `None` if the stream has ended.
    async fn told(&self, session: u32, step: Step, alone: bool) -> Option<Told> {
        let (tell, told) = oneshot::channel();
        let id = self.shared.pending.add(Waiting { session, parts: Vec::new(), tell })?;
        let mut cancel =
            matches!(step, Step::Credit(_)).then(|| Cancel { work: self, session, id });
        self.shared.send(proto::WorkRequest { id, session, step: Some(step) }, alone);
        let told = told.await;
        if let Some(cancel) = &mut cancel {
            cancel.id = 0;
        }
        told.ok()
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
    fn send(&self, message: proto::WorkRequest, alone: bool) {
        let decisions = match &message.step {
            Some(Step::Settle(settle)) => settle.decisions.as_slice(),
            _ => &[],
        };
        let bytes = decisions.iter().map(Message::encoded_len).sum();
        let count = decisions.len();
        // A stream that has ended has dropped its pending steps.
        let _ = self.steps.send(Call { message, count, bytes, alone });
    }

    fn send_and_forget(&self, session: u32, step: Step) {
        let id = self.pending.number();
        self.send(proto::WorkRequest { id, session, step: Some(step) }, true);
    }

    fn answer(&self, id: u64, answer: Option<Answer>) {
        match answer {
            Some(Answer::Leases(leases)) if leases.more => {
                let parts = leases.leases;
                self.pending.look(id, |waiting| waiting.parts.extend(parts));
            }
            answer => match self.together.take(id) {
                None => self.tell(id, Some(answer.map_or_else(|| Err(unknown_answer()), read))),
                Some(carried) => self.share_out(carried, answer),
            },
        }
    }

    /// Hands each of the settles that went out as one its part.
    fn share_out(&self, carried: Vec<(u64, usize)>, answer: Option<Answer>) {
        let mut outcomes = match answer {
            Some(Answer::Outcomes(outcomes)) => outcomes.outcomes.into_iter(),
            Some(Answer::Error(error)) if is_refusal(&error) => {
                return carried.into_iter().for_each(|(id, _)| self.tell(id, None));
            }
            Some(Answer::Error(error)) => {
                let tell = |(id, _)| self.tell(id, Some(Err(error_from(error.clone()))));
                return carried.into_iter().for_each(tell);
            }
            _ => {
                let tell = |(id, _)| self.tell(id, Some(Err(unknown_answer())));
                return carried.into_iter().for_each(tell);
            }
        };
        for (id, count) in carried {
            let outcomes = outcomes.by_ref().take(count).collect();
            self.tell(id, Some(Ok(Answer::Outcomes(proto::Outcomes { outcomes }))));
        }
    }

    fn tell(&self, id: u64, told: Told) {
        let Some(Waiting { session, parts, tell }) = self.pending.take(id) else { return };
        let told = told.map(|answer| answer.map(|answer| with_parts(answer, parts)));
        if let Err(Some(Ok(Answer::Leases(leases)))) = tell.send(told) {
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

/// Settles of one session can be one.
impl Joins for proto::WorkRequest {
    fn number(&self) -> u64 {
        self.id
    }

    fn is_barrier(&self) -> bool {
        matches!(self.step, Some(Step::Close(_) | Step::Open(_)))
    }

    fn goes_with(&self, other: &Self) -> bool {
        let are_settles =
            matches!((&self.step, &other.step), (Some(Step::Settle(_)), Some(Step::Settle(_))));
        are_settles && self.session == other.session
    }

    fn join(&mut self, other: Self) {
        if let (Some(Step::Settle(own)), Some(Step::Settle(more))) = (&mut self.step, other.step) {
            own.decisions.extend(more.decisions);
        }
    }
}

fn read(answer: Answer) -> Result<Answer> {
    match answer {
        Answer::Error(error) => Err(error_from(error)),
        answer => Ok(answer),
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
