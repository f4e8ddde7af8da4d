//! One who receives and decides: every kind of verdict, leases that are let end, and tokens that are
//! presented when they are stale.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::{Outcome, What};
use tidegate_core::{
    ErrorKind, FollowUp, Held, Holder, Lease, LeaseToken, ReceiveOptions, Receiver, SessionOptions,
    Settled, Verdict,
};

use super::book::{SCRIBE, name};
use super::scenario::{LEASE, ORDERED, queue};
use super::stage::{Failure, Stage};
use crate::scribe::Sender;

/// Stale tokens that are kept at most.
const KEPT_MAX: usize = 10;

/// A lease as it is settled: the task, the token, the verdict.
type Decision = (String, LeaseToken, Verdict);

/// A consumer of one queue.
pub(crate) struct Consumer {
    stage: Arc<Stage>,
    name: String,
    queue: &'static str,
    holder: Holder,
    rng: Rng,
    /// Tokens whose leases were let end, or that were settled. They outlive processes.
    kept: Arc<std::sync::Mutex<Vec<(String, LeaseToken)>>>,
    next_seq: u64,
}

/// Tokens that the consumers of one queue keep from one process to the next.
pub(crate) type Kept = Arc<std::sync::Mutex<Vec<(String, LeaseToken)>>>;

impl Consumer {
    pub(crate) fn new(
        stage: Arc<Stage>,
        queue: &'static str,
        name: String,
        holder: Holder,
        kept: Kept,
        rng: Rng,
    ) -> Self {
        Self { stage, name, queue, holder, rng, kept, next_seq: 0 }
    }

    /// Receives and decides until something fails or the process ends.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(failure) = self.session().await {
                return self.stage.failed(&self.name, &failure);
            }
        }
    }

    async fn session(&mut self) -> Result<(), Failure> {
        let receiver = self.open().await?;
        for _ in 0..self.rng.usize(1..20) {
            self.step(&receiver).await?;
            self.stage.pause(&mut self.rng, 10).await;
        }
        self.close(&receiver).await
    }

    pub(crate) async fn open(&self) -> Result<Receiver, Failure> {
        let options = SessionOptions { holder: self.holder, ..SessionOptions::default() };
        self.stage.broker.open(&queue(self.queue)?, &options).await
    }

    async fn close(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        if self.rng.bool() {
            return receiver.close(Held::Keep).await;
        }
        let what = What::GaveBack { queue: self.queue.into() };
        let begun = self.stage.book.begin(&self.name, vec![what.clone()]);
        receiver.close(Held::Release).await?;
        self.stage.book.end(&begun, vec![(Outcome::Ok, what)]);
        Ok(())
    }

    async fn step(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        let rng = &mut self.rng;
        let options = ReceiveOptions::up_to(rng.usize(1..6)).per_key(rng.usize(1..4));
        let options = options.waiting(Duration::from_millis(rng.u64(0..15)));
        let lease = Duration::from_millis(rng.u64(20..200));
        let options = if rng.bool() { options.leased_for(lease) } else { options };
        let leases = self.receive(receiver, &options).await?;
        let mut verdicts = Vec::new();
        for lease in &leases {
            self.decide(receiver, lease, &mut verdicts).await?;
        }
        self.settle(receiver, &verdicts).await?;
        if self.rng.u8(0..4) == 0 {
            self.present_a_kept_token(receiver).await?;
        }
        Ok(())
    }

    /// Receives and writes down what was handed out.
    pub(crate) async fn receive(
        &self,
        receiver: &Receiver,
        options: &ReceiveOptions,
    ) -> Result<Vec<Lease>, Failure> {
        let book = &self.stage.book;
        let begun = book.begin(&self.name, Vec::new());
        let leases = receiver.receive(options).await?;
        let received = |lease: &Lease| SCRIBE.received(self.queue, lease);
        book.end(&begun, leases.iter().map(|lease| (Outcome::Ok, received(lease))).collect());
        leases.iter().for_each(|lease| book.handed_out(lease, &begun));
        Ok(leases)
    }

    async fn decide(
        &mut self,
        receiver: &Receiver,
        lease: &Lease,
        verdicts: &mut Vec<Decision>,
    ) -> Result<(), Failure> {
        let (id, token) = (name(lease.task.id), lease.token.clone());
        let after = Duration::from_millis(self.rng.u64(0..40));
        let verdict = match self.rng.u8(0..100) {
            0..50 => Verdict::Complete,
            50..64 => Verdict::Retry { after, error: Some("it failed".into()) },
            64..74 => Verdict::Release { after },
            74..80 => Verdict::DeadLetter { reason: "of no use".into() },
            80..86 => return self.follow_up(&id, &token).await,
            86..92 => {
                self.extend(receiver, &id, &token).await?;
                Verdict::Complete
            }
            _ => {
                self.keep(id, token);
                return Ok(());
            }
        };
        verdicts.push((id, token, verdict));
        Ok(())
    }

    fn keep(&mut self, id: String, token: LeaseToken) {
        let mut kept = self.kept.lock().unwrap_or_else(|kept| kept.into_inner());
        if kept.len() == KEPT_MAX {
            kept.swap_remove(self.rng.usize(0..KEPT_MAX));
        }
        kept.push((id, token));
    }

    /// Settles, and sometimes keeps a token that was settled.
    pub(crate) async fn settle(
        &mut self,
        receiver: &Receiver,
        verdicts: &[Decision],
    ) -> Result<(), Failure> {
        if verdicts.is_empty() {
            return Ok(());
        }
        let what = |n: usize, answer| {
            let (id, token, verdict) = verdicts.get(n)?;
            Some(SCRIBE.settled(self.queue, id, token, verdict, answer))
        };
        let unknown = (0..verdicts.len()).filter_map(|n| what(n, None)).collect();
        let begun = self.stage.book.begin(&self.name, unknown);
        let asked: Vec<_> = verdicts.iter().map(|(_, t, v)| (t.clone(), v.clone())).collect();
        let answers = receiver.settle(&asked).await?;
        let ends = answers.into_iter().enumerate();
        let ends = ends.filter_map(|(n, a)| Some((Outcome::Ok, what(n, Some(a))?)));
        self.stage.book.end(&begun, ends.collect());
        for (id, token, _) in verdicts {
            if self.rng.u8(0..10) == 0 {
                self.keep(id.clone(), token.clone());
            }
        }
        Ok(())
    }

    async fn extend(
        &self,
        receiver: &Receiver,
        id: &str,
        token: &LeaseToken,
    ) -> Result<(), Failure> {
        let what = |answer| SCRIBE.extended(self.queue, id, token, LEASE, answer);
        let begun = self.stage.book.begin(&self.name, vec![what(None)]);
        let settled = receiver.extend_one(token, LEASE).await?;
        self.stage.book.end(&begun, vec![(Outcome::Ok, what(Some(settled)))]);
        Ok(())
    }

    /// Completes a task and sends one that follows from it, in one step.
    async fn follow_up(&mut self, id: &str, token: &LeaseToken) -> Result<(), Failure> {
        let book = self.stage.book.clone();
        let next = book.next_task(self.rng.usize(0..40));
        let next = if self.queue == ORDERED { next.ordering_key("key-0") } else { next };
        self.next_seq += 1;
        let sender = Sender { name: &self.name, seq: self.next_seq };
        let sent = |answer: Option<&_>| SCRIBE.enqueued(self.queue, &next, sender, answer);
        let unknown =
            vec![SCRIBE.settled(self.queue, id, token, &Verdict::Complete, None), sent(None)];
        book.pages().sent.insert(next.id, next.clone());
        let begun = book.begin(&self.name, unknown);
        let to = queue(self.queue)?;
        let follow_ups = [FollowUp { queue: to.clone(), task: next.clone() }];
        let broker = &self.stage.broker;
        let settle = broker.settle_and_enqueue(&to, token, &Verdict::Complete, &follow_ups);
        let (outcome, ends, made) = match settle.await {
            Ok((settled, made)) => {
                let done = matches!(settled, Settled::Done { .. });
                (if done { Outcome::Ok } else { Outcome::Fail }, Some(settled), made)
            }
            Err(error) if matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::QueueFull) => {
                (Outcome::Fail, None, Vec::new())
            }
            Err(error) => return Err(error),
        };
        made.iter().for_each(|made| book.note_sequence(made.id, made.sequence));
        let settled = SCRIBE.settled(self.queue, id, token, &Verdict::Complete, ends);
        let first = if ends.is_some() { Outcome::Ok } else { Outcome::Fail };
        book.end(&begun, vec![(first, settled), (outcome, sent(made.first()))]);
        Ok(())
    }

    /// Presents a token that is probably stale, as a worker does that was asleep for too long.
    async fn present_a_kept_token(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        let taken = {
            let mut kept = self.kept.lock().unwrap_or_else(|kept| kept.into_inner());
            let count = kept.len();
            (count > 0).then(|| kept.swap_remove(self.rng.usize(0..count)))
        };
        let Some((id, token)) = taken else { return Ok(()) };
        if self.rng.bool() {
            return self.extend(receiver, &id, &token).await;
        }
        let verdict = match self.rng.u8(0..3) {
            0 => Verdict::Complete,
            1 => Verdict::Retry { after: Duration::ZERO, error: None },
            _ => Verdict::DeadLetter { reason: "late".into() },
        };
        self.settle(receiver, &[(id, token, verdict)]).await
    }
}
