//! One who receives and decides: every kind of verdict, leases that are let end, and tokens that are
//! kept and presented when they are stale.

use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::{Outcome, What};
use tidegate_core::{
    FollowUp, Held, Holder, Lease, LeaseToken, NewTask, ReceiveOptions, Receiver, SessionOptions,
    Settled, Verdict,
};

use super::Failure;
use super::clock::SCRIBE;
use super::stage::{LEASE, ORDERED, Stage, queue};
use crate::scribe::Sender;

/// Stale tokens that are kept at most.
const KEPT_MAX: usize = 40;

/// A consumer of one queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) stage: Stage,
    pub(crate) name: String,
    queue: &'static str,
    holder: Holder,
    rng: Rng,
    /// Tokens whose leases were let end, or that were settled.
    kept: Vec<(String, LeaseToken)>,
    next_seq: u64,
}

impl Consumer {
    pub(crate) fn new(
        stage: Stage,
        queue: &'static str,
        number: u64,
        round: u64,
        seed: u64,
    ) -> Self {
        let rng = Rng::with_seed(seed ^ (number << 24) ^ (round << 32));
        let holder = if number.is_multiple_of(2) { Holder::Process } else { Holder::Client };
        let name = format!("consumer-{number}-of-{queue}-{round}");
        Self { stage, name, queue, holder, rng, kept: Vec::new(), next_seq: 0 }
    }

    /// The same, with leases that outlive the process which holds the engine.
    pub(crate) fn outliving(self) -> Self {
        Self { holder: Holder::Client, ..self }
    }

    /// Receives and decides until the process is killed or something fails.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        loop {
            let receiver = self.open().await?;
            for _ in 0..60 {
                self.step(&receiver).await?;
            }
            self.close(&receiver).await?;
        }
    }

    pub(crate) async fn open(&self) -> Result<Receiver, Failure> {
        let options = SessionOptions { holder: self.holder, ..SessionOptions::default() };
        Ok(self.stage.broker.open(&queue(self.queue)?, &options).await?)
    }

    pub(crate) async fn close(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        if self.rng.bool() {
            return Ok(receiver.close(Held::Keep).await?);
        }
        let what = What::GaveBack { queue: self.queue.into() };
        let begun = self.stage.journal.begin(&self.name, vec![what.clone()])?;
        receiver.close(Held::Release).await?;
        Ok(self.stage.journal.end(&begun, [(Outcome::Ok, what)])?)
    }

    /// Receives, decides and settles once.
    pub(crate) async fn step(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        let rng = &mut self.rng;
        let options = ReceiveOptions::up_to(rng.usize(1..8)).per_key(rng.usize(1..4));
        let options = options.waiting(Duration::from_millis(rng.u64(0..15)));
        let lease = Duration::from_millis(rng.u64(20..300));
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
        let begun = self.stage.journal.begin(&self.name, Vec::new())?;
        let leases = receiver.receive(options).await?;
        let received = |lease: &Lease| SCRIBE.received(self.queue, lease);
        let ends: Vec<_> = leases.iter().map(|lease| (Outcome::Ok, received(lease))).collect();
        self.stage.journal.end(&begun, ends)?;
        Ok(leases)
    }

    async fn decide(
        &mut self,
        receiver: &Receiver,
        lease: &Lease,
        verdicts: &mut Vec<(String, LeaseToken, Verdict)>,
    ) -> Result<(), Failure> {
        let (id, token) = (lease.task.id.to_string(), lease.token.clone());
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
        if self.kept.len() == KEPT_MAX {
            self.kept.swap_remove(self.rng.usize(0..KEPT_MAX));
        }
        self.kept.push((id, token));
    }

    /// Settles, and sometimes keeps a token that was settled.
    pub(crate) async fn settle(
        &mut self,
        receiver: &Receiver,
        verdicts: &[(String, LeaseToken, Verdict)],
    ) -> Result<(), Failure> {
        if verdicts.is_empty() {
            return Ok(());
        }
        let what = |n: usize, answer| {
            let (id, token, verdict) = verdicts.get(n)?;
            Some(SCRIBE.settled(self.queue, id, token, verdict, answer))
        };
        let unknown = (0..verdicts.len()).filter_map(|n| what(n, None)).collect();
        let begun = self.stage.journal.begin(&self.name, unknown)?;
        let asked: Vec<_> = verdicts.iter().map(|(_, t, v)| (t.clone(), v.clone())).collect();
        let answers = receiver.settle(&asked).await?;
        let ends = answers.into_iter().enumerate();
        let ends: Vec<_> =
            ends.filter_map(|(n, a)| Some((Outcome::Ok, what(n, Some(a))?))).collect();
        self.stage.journal.end(&begun, ends)?;
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
        let begun = self.stage.journal.begin(&self.name, vec![what(None)])?;
        let settled = receiver.extend_one(token, LEASE).await?;
        Ok(self.stage.journal.end(&begun, [(Outcome::Ok, what(Some(settled)))])?)
    }

    /// Completes a task and sends one that follows from it, in one step.
    async fn follow_up(&mut self, id: &str, token: &LeaseToken) -> Result<(), Failure> {
        let next = NewTask::new("follow-up", self.queue);
        let next = if self.queue == ORDERED { next.ordering_key("key-0") } else { next };
        self.next_seq += 1;
        let sender = Sender { name: &self.name, seq: self.next_seq };
        let sent = |answer: Option<&_>| SCRIBE.enqueued(self.queue, &next, sender, answer);
        let unknown =
            vec![SCRIBE.settled(self.queue, id, token, &Verdict::Complete, None), sent(None)];
        let begun = self.stage.journal.begin(&self.name, unknown)?;
        let name = queue(self.queue)?;
        let follow_ups = [FollowUp { queue: name.clone(), task: next.clone() }];
        let settle =
            self.stage.broker.settle_and_enqueue(&name, token, &Verdict::Complete, &follow_ups);
        let (settled, made) = settle.await?;
        let done = matches!(settled, Settled::Done { .. });
        let outcome = if done { Outcome::Ok } else { Outcome::Fail };
        let settled = SCRIBE.settled(self.queue, id, token, &Verdict::Complete, Some(settled));
        let ends = [(Outcome::Ok, settled), (outcome, sent(made.first()))];
        Ok(self.stage.journal.end(&begun, ends)?)
    }

    /// Presents a token that is probably stale, as a worker does that was asleep for too long.
    async fn present_a_kept_token(&mut self, receiver: &Receiver) -> Result<(), Failure> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let (id, token) = self.kept.swap_remove(self.rng.usize(0..self.kept.len()));
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
