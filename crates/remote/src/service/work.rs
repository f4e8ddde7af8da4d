//! The stream of work: steps of many sessions come in, their answers go out.
//!
//! Leases to settle that have arrived together are settled together, and so are those to extend, and
//! credits that have come together are first filled together: one step of the broker instead of many.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, stream};
use tidegate_core::access::Action;
use tidegate_core::capabilities::LeaseSupport;
use tidegate_core::{
    Access, AttemptId, Error, ErrorKind, Held, Holder, Lease, LeaseToken, Membership, Operation,
    QueueName, ReceiveOptions, Receiver, Result, SessionOptions, Settled, Verdict, limits,
    queueing,
};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};

use super::arrivals::{Arrivals, Arrived};
use super::drain::Begun;
use super::room::Call;
use super::{Limits, Shared};
use crate::proto::{self, work_request::Step, work_response::Answer};
use crate::wire::error::error_to;
use crate::wire::lease::{decision_from, extension_from, lease_to, settled_to};
use crate::wire::time::duration;

/// Steps under way beside credits; more are not read until some of them are answered.
const UNDER_WAY_MAX: usize = 1_024;
/// Leases of more bytes go out in parts, so that none is too long for its reader.
const PART_BYTES: usize = 1 << 20;
/// How long a receive may go on whose credit was taken back. WHY: one that is handing leases out comes
/// to its end in that time, and strands none.
const TAKE_BACK_GRACE: Duration = Duration::from_millis(100);

/// The answers to a stream of steps.
pub(super) fn answers(
    shared: Arc<Shared>,
    access: Access,
    call: Call,
    steps: Streaming<proto::WorkRequest>,
) -> impl Stream<Item = Result<proto::WorkResponse, Status>> + Send {
    let work = Work {
        draining: Box::pin(shared.drain.begun()),
        is_draining: false,
        shared,
        access,
        steps: Arrivals::of(steps, beside, call.clone()),
        call,
        sessions: HashMap::new(),
        opening: HashSet::new(),
        credits: HashMap::new(),
        running: FuturesUnordered::new(),
        answers: VecDeque::new(),
    };
    stream::unfold(work, |mut work| async move {
        let answer = work.next().await?;
        Some((answer, work))
    })
}

/// What the elements of a step take in memory beside their bytes.
fn beside(request: &proto::WorkRequest) -> usize {
    match &request.step {
        Some(Step::Settle(settle)) => settle.decisions.len() * size_of::<proto::Decision>(),
        Some(Step::Extend(extend)) => extend.extensions.len() * size_of::<proto::Extension>(),
        Some(Step::Open(_) | Step::Credit(_) | Step::Cancel(_) | Step::Close(_)) | None => 0,
    }
}

struct Work {
    shared: Arc<Shared>,
    access: Access,
    steps: Arrivals<Streaming<proto::WorkRequest>, proto::WorkRequest>,
    sessions: HashMap<u32, Receiver>,
    opening: HashSet<u32>,
    /// Credits that are not used up; dropping one takes it back.
    credits: HashMap<u64, oneshot::Sender<()>>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Counts what is not answered, of steps under way beside credits.
    call: Call,
    answers: VecDeque<proto::WorkResponse>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_draining: bool,
}

/// What became of something that was begun.
enum Done {
    Opened { id: u64, bytes: usize, session: u32, opened: Result<Receiver>, _begun: Begun },
    Received { id: u64, credit: Credit, leases: Result<Vec<Lease>>, _begun: Begun },
    Filled { credits: Vec<(u64, Credit)>, leases: Result<Vec<Lease>>, _begun: Begun },
    Settled { bytes: usize, steps: Vec<(u64, Result<Vec<Settled>, proto::Error>)>, _begun: Begun },
    Closed { id: u64, closed: Result<()>, _begun: Begun },
}

/// A credit as it was given.
struct Credit {
    receiver: Receiver,
    options: ReceiveOptions,
    /// Whether it stands until it is used up.
    stands: bool,
    cancelled: oneshot::Receiver<()>,
}

/// Leases that are settled, or extended, together.
struct Batch<T> {
    session: u32,
    receiver: Receiver,
    leases: Vec<(LeaseToken, T)>,
    /// The steps' numbers, and how many of the leases are theirs.
    steps: Vec<(u64, usize)>,
    bytes: usize,
}

/// A step that is about a session.
#[derive(Clone, Copy)]
struct Asked {
    id: u64,
    session: u32,
    bytes: usize,
}

/// Credits of one session that ask for the same, but for how many and how long they wait.
struct Credits {
    session: u32,
    credits: Vec<(u64, Credit)>,
    /// What they ask for together, at once or not at all.
    options: ReceiveOptions,
}

/// What has arrived together and can be done together.
#[derive(Default)]
struct Together {
    credits: Vec<Credits>,
    settles: Vec<Batch<Verdict>>,
    extends: Vec<Batch<Duration>>,
}

impl Work {
    async fn next(&mut self) -> Option<Result<proto::WorkResponse, Status>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some(Ok(answer));
            }
            let has_ended = self.steps.has_ended();
            if has_ended || self.is_draining {
                // WHY: what was begun is answered, and nothing waits any more.
                self.credits.clear();
                if self.running.is_empty() {
                    return self.steps.broken().map(Err);
                }
            }
            let room = self.room();
            tokio::select! {
                biased;
                Some(done) = self.running.next() => self.finish(done),
                () = &mut self.draining, if !self.is_draining => {
                    self.is_draining = true;
                }
                read = self.steps.next(room), if !has_ended => self.begin(read),
            }
        }
    }

    /// Bytes of steps that may be read now.
    fn room(&self) -> usize {
        let Limits {
            request_bytes_max: _,
            credit_bytes,
            connection_bytes: _,
            sessions_max: _,
            credits_max,
        } = self.shared.limits;
        if self.running.len() < credits_max + UNDER_WAY_MAX {
            (credit_bytes as usize).saturating_sub(self.call.unanswered())
        } else {
            0
        }
    }

    /// Begins what has arrived.
    fn begin(&mut self, read: Vec<Arrived<proto::WorkRequest>>) {
        let mut together = Together::default();
        for (request, bytes) in read {
            let proto::WorkRequest { id, session, step } = request;
            let asked = Asked { id, session, bytes };
            let is_awaited =
                matches!(step, Some(Step::Open(_) | Step::Settle(_) | Step::Extend(_)));
            if is_awaited {
                queueing::request_came();
            }
            let taken = self.take(&mut together, asked, step);
            if taken.is_err() || !is_awaited {
                self.call.answer(bytes);
            }
            if let Err((error, doing)) = taken {
                self.refuse(id, &error.during(doing));
            }
        }
        self.flush(together);
    }

    fn take(
        &mut self,
        together: &mut Together,
        asked: Asked,
        step: Option<Step>,
    ) -> Result<(), (Error, Operation)> {
        let Asked { id, session, bytes: _ } = asked;
        let (taken, doing) = match step {
            Some(Step::Open(open)) => (self.open(asked, open), Operation::OpenSession),
            Some(Step::Credit(credit)) => {
                (self.receive(&mut together.credits, id, session, credit), Operation::Receive)
            }
            Some(Step::Cancel(proto::Cancel { credit })) => {
                self.credits.remove(&credit);
                (Ok(()), Operation::Receive)
            }
            Some(Step::Settle(proto::Settle { decisions })) => {
                let leases = decisions.into_iter().map(decision_from).collect();
                (self.join(&mut together.settles, asked, leases), Operation::Settle)
            }
            Some(Step::Extend(proto::Extend { extensions })) => {
                let leases = Ok(extensions.into_iter().map(extension_from).collect());
                (self.join(&mut together.extends, asked, leases), Operation::Extend)
            }
            Some(Step::Close(proto::Close { keep })) => {
                // WHY: what came before it is begun before it.
                self.flush(std::mem::take(together));
                (self.close(id, session, keep), Operation::Close)
            }
            None => {
                let why = "the step is of a kind that this version does not know";
                (Err(invalid(why)), Operation::Receive)
            }
        };
        taken.map_err(|error| (error, doing))
    }

    fn open(&mut self, asked: Asked, open: proto::Open) -> Result<()> {
        const OPEN: Operation = Operation::OpenSession;
        let proto::Open { queue, member } = open;
        let queue = QueueName::new(queue).map_err(invalid)?;
        self.access.require(Action::Receive, &queue, OPEN)?;
        let Asked { id, session, bytes } = asked;
        if self.sessions.contains_key(&session) || self.opening.contains(&session) {
            let why = format!("session {session} is open already; choose another number");
            return Err(invalid(why).on(&queue));
        }
        let most = self.shared.limits.sessions_max;
        if self.sessions.len() + self.opening.len() >= most {
            return Err(invalid(format!("{most} sessions are open; close some")).on(&queue));
        }
        let membership = member.map_or(Membership::Shared, Membership::Member);
        let options = SessionOptions { membership, holder: Holder::Client };
        let (shared, begun) = (self.shared.clone(), self.shared.drain.enter());
        self.opening.insert(session);
        self.running.push(Box::pin(async move {
            let opened = shared.broker.open(&queue, &options).await;
            Done::Opened { id, bytes, session, opened, _begun: begun }
        }));
        Ok(())
    }

    fn session(&self, session: u32) -> Result<&Receiver> {
        self.sessions.get(&session).ok_or_else(|| {
            let why = format!("session {session} is not open; open it and wait for the answer");
            Error::new(ErrorKind::Closed, Operation::Receive, why)
        })
    }

    fn receive(
        &mut self,
        together: &mut Vec<Credits>,
        id: u64,
        session: u32,
        credit: proto::Credit,
    ) -> Result<()> {
        let proto::Credit { limit, wait_us, lease_us, per_key, attempt_id } = credit;
        let receiver = self.session(session)?.clone();
        if self.credits.contains_key(&id) {
            return Err(invalid(format!("credit {id} is not used up; choose another number")));
        }
        let most = self.shared.limits.credits_max;
        if self.credits.len() >= most {
            return Err(invalid(format!("{most} credits are not used up; wait for some")));
        }
        let attempt_id = match &*attempt_id {
            "" => None,
            _ if wait_us.is_none() => {
                let why = "a credit that stands is no single receive, and takes no attempt id";
                return Err(invalid(why).on(receiver.queue()));
            }
            id => Some(AttemptId::new(id).map_err(invalid)?),
        };
        let options = ReceiveOptions {
            limit: limit as usize,
            wait: wait_us.map_or(limits::WAIT_MAX, duration),
            lease: lease_us.map(duration),
            per_key: per_key.max(1) as usize,
            attempt_id,
        };
        let (cancel, cancelled) = oneshot::channel();
        if !self.is_draining {
            self.credits.insert(id, cancel);
        }
        let credit = Credit { receiver, options, stands: wait_us.is_none(), cancelled };
        let most = self.shared.broker.capabilities().batch_max;
        let goes_with = |credits: &&mut Credits| credits.goes_with(session, &credit.options, most);
        match together.iter_mut().find(goes_with) {
            Some(credits) => {
                credits.options.limit += credit.options.limit;
                credits.credits.push((id, credit));
            }
            None => {
                let options = ReceiveOptions { wait: Duration::ZERO, ..credit.options.clone() };
                together.push(Credits { session, credits: vec![(id, credit)], options });
            }
        }
        Ok(())
    }

    /// Asks once for what several credits want together.
    fn fill(&mut self, Credits { session: _, credits, options }: Credits) {
        let begun = self.shared.drain.enter();
        self.running.push(Box::pin(async move {
            let leases = match credits.first() {
                Some((_, first)) => first.receiver.receive(&options).await,
                None => Ok(Vec::new()),
            };
            Done::Filled { credits, leases, _begun: begun }
        }));
    }

    fn wait(&mut self, id: u64, mut credit: Credit) {
        let begun = self.shared.drain.enter();
        self.running.push(Box::pin(async move {
            let receive = credit.receiver.receive(&credit.options);
            let taken_back = async {
                let _ = (&mut credit.cancelled).await;
                tokio::time::sleep(TAKE_BACK_GRACE).await;
            };
            let leases = tokio::select! {
                biased;
                leases = receive => leases,
                () = taken_back => Ok(Vec::new()),
            };
            Done::Received { id, credit, leases, _begun: begun }
        }));
    }

    /// Adds the leases of a step to those that are settled, or extended, with it: no more than the
    /// broker takes in one step, so that an error means that nothing was carried out.
    fn join<T>(
        &mut self,
        batches: &mut Vec<Batch<T>>,
        asked: Asked,
        leases: Result<Vec<(LeaseToken, T)>>,
    ) -> Result<()> {
        let Asked { id, session, bytes } = asked;
        let (receiver, leases) = (self.session(session)?, leases?);
        let most = self.shared.broker.capabilities().batch_max;
        if leases.len() > most {
            let why = format!("{} leases are too many for one step, {most} fit", leases.len());
            return Err(invalid(why).on(receiver.queue()));
        }
        let step = (id, leases.len());
        let fits = |batch: &Batch<T>| batch.leases.len() + leases.len() <= most;
        let goes_with = |batch: &Batch<T>| self.goes_with(receiver, session, batch);
        match batches.iter_mut().rev().find(|batch| goes_with(batch)).filter(|batch| fits(batch)) {
            Some(batch) => {
                batch.leases.extend(leases);
                batch.steps.push(step);
                batch.bytes += bytes;
            }
            None => {
                let (receiver, steps) = (receiver.clone(), vec![step]);
                batches.push(Batch { session, receiver, leases, steps, bytes });
            }
        }
        Ok(())
    }

    /// Whether leases of a session can be settled in another's place: tokens of timed leases are good
    /// in any session.
    fn goes_with<T>(&self, receiver: &Receiver, session: u32, batch: &Batch<T>) -> bool {
        let anywhere = matches!(self.shared.broker.capabilities().lease, LeaseSupport::Timed(_));
        batch.session == session || anywhere && batch.receiver.queue() == receiver.queue()
    }

    fn flush(&mut self, Together { credits, settles, extends }: Together) {
        for mut credits in credits {
            match (credits.credits.len(), credits.credits.pop()) {
                (1, Some((id, alone))) => self.wait(id, alone),
                (_, last) => {
                    credits.credits.extend(last);
                    self.fill(credits);
                }
            }
        }
        for batch in settles {
            let (begun, bytes) = (self.shared.drain.enter(), batch.bytes);
            self.running.push(Box::pin(async move {
                let settle =
                    async |receiver: &Receiver, leases: &[_]| receiver.settle(leases).await;
                Done::Settled { bytes, steps: together(batch, settle).await, _begun: begun }
            }));
        }
        for batch in extends {
            let (begun, bytes) = (self.shared.drain.enter(), batch.bytes);
            self.running.push(Box::pin(async move {
                let extend =
                    async |receiver: &Receiver, leases: &[_]| receiver.extend(leases).await;
                Done::Settled { bytes, steps: together(batch, extend).await, _begun: begun }
            }));
        }
    }

    fn close(&mut self, id: u64, session: u32, keep: bool) -> Result<()> {
        let receiver = self.session(session)?.clone();
        self.sessions.remove(&session);
        let held = if keep { Held::Keep } else { Held::Release };
        let begun = self.shared.drain.enter();
        self.running.push(Box::pin(async move {
            Done::Closed { id, closed: receiver.close(held).await, _begun: begun }
        }));
        Ok(())
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Opened { id, bytes, session, opened, _begun } => {
                self.call.answer(bytes);
                self.opening.remove(&session);
                match opened {
                    Ok(receiver) => {
                        self.sessions.insert(session, receiver);
                        self.answer(id, Answer::Opened(proto::Opened {}));
                    }
                    Err(error) => self.refuse(id, &error),
                }
            }
            Done::Received { id, credit, leases, _begun } => self.hand_out(id, credit, leases),
            Done::Filled { credits, leases, _begun } => self.share_out(credits, leases),
            Done::Settled { bytes, steps, _begun } => {
                self.call.answer(bytes);
                for (id, outcomes) in steps {
                    match outcomes {
                        Ok(outcomes) => {
                            let outcomes = outcomes.into_iter().map(|o| settled_to(o).into());
                            let outcomes = proto::Outcomes { outcomes: outcomes.collect() };
                            self.answer(id, Answer::Outcomes(outcomes));
                        }
                        Err(error) => self.answer(id, Answer::Error(error)),
                    }
                }
            }
            Done::Closed { id, closed, _begun } => match closed {
                Ok(()) => self.answer(id, Answer::Closed(proto::Closed {})),
                Err(error) => self.refuse(id, &error),
            },
        }
    }

    /// Hands each credit what it asked for, as far as the leases go. Those that get none go on to wait.
    fn share_out(&mut self, credits: Vec<(u64, Credit)>, leases: Result<Vec<Lease>>) {
        let mut leases = match leases {
            Ok(leases) => leases.into_iter(),
            Err(error) => {
                for (id, _) in credits {
                    self.credits.remove(&id);
                    self.refuse(id, &error);
                }
                return;
            }
        };
        for (id, credit) in credits {
            let some: Vec<_> = leases.by_ref().take(credit.options.limit).collect();
            if some.is_empty() && !credit.options.wait.is_zero() {
                self.wait(id, credit);
            } else {
                self.hand_out(id, credit, Ok(some));
            }
        }
    }

    /// Hands leases out, in parts where they are many, and goes on with a credit that stands.
    fn hand_out(&mut self, id: u64, mut credit: Credit, leases: Result<Vec<Lease>>) {
        let leases = match leases {
            Ok(leases) => leases,
            Err(error) => {
                self.credits.remove(&id);
                return self.refuse(id, &error);
            }
        };
        credit.options.limit = credit.options.limit.saturating_sub(leases.len());
        let was_taken_back = !self.credits.contains_key(&id);
        let goes_on = credit.stands && credit.options.limit > 0 && !was_taken_back;
        let mut parts = parts(leases).peekable();
        while let Some(leases) = parts.next() {
            let more = goes_on || parts.peek().is_some();
            self.answer(id, Answer::Leases(proto::Leases { leases, more }));
        }
        if goes_on {
            self.wait(id, credit);
        } else {
            self.credits.remove(&id);
        }
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        self.answers.push_back(proto::WorkResponse { id, answer: Some(answer) });
    }

    fn refuse(&mut self, id: u64, error: &Error) {
        self.answer(id, Answer::Error(error_to(error)));
    }
}

impl Credits {
    /// Whether a credit can be filled with these.
    fn goes_with(&self, session: u32, more: &ReceiveOptions, most: usize) -> bool {
        let ReceiveOptions { limit, wait: _, lease, per_key, attempt_id } = more;
        let fits = *limit > 0 && self.options.limit > 0 && self.options.limit + limit <= most;
        // WHY: tasks of one key are held by one, so whoever may get several of them gets them alone.
        let one_a_key = *per_key == 1 && self.options.per_key == 1;
        let unnamed = attempt_id.is_none() && self.options.attempt_id.is_none();
        self.session == session && self.options.lease == *lease && fits && one_a_key && unnamed
    }
}

/// Settles, or extends, leases together and tells each step its part.
async fn together<T>(
    batch: Batch<T>,
    carry_out: impl AsyncFn(&Receiver, &[(LeaseToken, T)]) -> Result<Vec<Settled>>,
) -> Vec<(u64, Result<Vec<Settled>, proto::Error>)> {
    let Batch { session: _, receiver, leases, steps, bytes: _ } = batch;
    let mut answers = Vec::with_capacity(steps.len());
    match carry_out(&receiver, &leases).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for (id, count) in steps {
                answers.push((id, Ok(outcomes.by_ref().take(count).collect())));
            }
        }
        // INVARIANT: nothing was carried out, so the steps can be told apart from the one to blame.
        Err(error) if error.kind() == ErrorKind::Invalid && steps.len() > 1 => {
            let mut leases = leases.as_slice();
            for (id, count) in steps {
                let (now, later) = leases.split_at(count.min(leases.len()));
                leases = later;
                answers.push((id, carry_out(&receiver, now).await.map_err(|e| error_to(&e))));
            }
        }
        Err(error) => {
            let error = error_to(&error);
            answers.extend(steps.into_iter().map(|(id, _)| (id, Err(error.clone()))));
        }
    }
    answers
}

/// Leases in parts of about [`PART_BYTES`]; one part, perhaps empty, at least.
fn parts(leases: Vec<Lease>) -> impl Iterator<Item = Vec<proto::Lease>> {
    let mut left = leases.into_iter().peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        if left.peek().is_none() && !is_first {
            return None;
        }
        is_first = false;
        let (mut part, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES
            && let Some(lease) = left.next()
        {
            bytes += lease.task.payload.len();
            part.push(lease_to(lease));
        }
        Some(part)
    })
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Operation::Receive, why)
}
