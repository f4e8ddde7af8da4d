//! Faults of receiving and settling.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    AttemptId, Held, Lease, LeaseToken, Lost, ReceiveOptions, Result, Session, Settled, State,
    Verdict,
};

use super::{Fault, Faulty};

#[derive(Debug)]
pub(super) struct FaultySession {
    pub(super) faulty: Faulty,
    pub(super) session: Arc<dyn Session>,
}

#[async_trait]
impl Session for FaultySession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let mut options = options.clone();
        match self.faulty.fault {
            Fault::LimitIgnored => options.limit = 1_000,
            Fault::WaitIgnored => options.wait = Duration::ZERO,
            Fault::PerKeyIgnored => options.per_key = 1_000,
            Fault::LeaseLengthIgnored => options.lease = None,
            Fault::AttemptIgnored => options.attempt_id = None,
            Fault::AttemptOverreaches if options.attempt_id.is_some() => {
                options.attempt_id = AttemptId::new("the same").ok();
            }
            Fault::AttemptNeverOver => {
                return self.receive_by_own_memory(&options).await;
            }
            _ => {}
        }
        let leases = if self.faulty.has(Fault::WakeupLost) {
            self.receive_deaf(&options).await?
        } else {
            self.session.receive(&options).await?
        };
        Ok(self.spoil_leases(leases))
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        if self.faulty.has(Fault::BatchHalfCarriedOut) {
            let mut outcomes = Vec::new();
            for verdict in verdicts {
                outcomes.extend(self.session.settle(std::slice::from_ref(verdict)).await?);
            }
            return Ok(outcomes);
        }
        let spoiled: Vec<_> = verdicts
            .iter()
            .map(|(token, verdict)| (self.token(token), self.spoil_verdict(verdict)))
            .collect();
        if self.faulty.has(Fault::SettleNotCarriedOut) {
            return self.settle_in_words(&spoiled).await;
        }
        let mut outcomes = self.session.settle(&spoiled).await?;
        for (outcome, (_, verdict)) in outcomes.iter_mut().zip(verdicts) {
            *outcome = self.spoil_outcome(*outcome, verdict);
        }
        if self.faulty.has(Fault::SettledReversed) {
            outcomes.reverse();
        }
        Ok(outcomes)
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        const DONE: Settled = Settled::Done { state: State::Leased };
        if self.faulty.has(Fault::ExtendIgnored) {
            return Ok(vec![DONE; leases.len()]);
        }
        let times = if self.faulty.has(Fault::ExtendTooLong) { 2 } else { 1 };
        let leases: Vec<_> =
            leases.iter().map(|(token, length)| (self.token(token), *length * times)).collect();
        let mut outcomes = self.session.extend(&leases).await?;
        if self.faulty.has(Fault::ExtendRevives) {
            let expired = |outcome: &&mut Settled| **outcome == Settled::Lost(Lost::Expired);
            outcomes.iter_mut().filter(expired).for_each(|outcome| *outcome = DONE);
        }
        Ok(outcomes)
    }

    async fn close(&self, held: Held) -> Result<()> {
        match (self.faulty.fault, held) {
            (Fault::ClosedSessionWorks, _) => Ok(()),
            (Fault::CloseReleasesNothing, _) => self.session.close(Held::Keep).await,
            (Fault::CloseKeepsNothing, _) => self.session.close(Held::Release).await,
            _ => self.session.close(held).await,
        }
    }
}

impl FaultySession {
    /// Answers a known attempt id from what it has handed out, without asking the broker.
    async fn receive_by_own_memory(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let Some(id) = options.attempt_id.clone() else {
            return self.session.receive(options).await;
        };
        let known = self.faulty.memory().attempts.get(&id).cloned();
        if let Some(leases) = known {
            return Ok(leases);
        }
        let leases = self.session.receive(options).await?;
        if !leases.is_empty() {
            self.faulty.memory().attempts.insert(id, leases.clone());
        }
        Ok(leases)
    }

    async fn receive_deaf(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let at_once = ReceiveOptions { wait: Duration::ZERO, ..options.clone() };
        let leases = self.session.receive(&at_once).await?;
        if !leases.is_empty() || options.wait.is_zero() {
            return Ok(leases);
        }
        let clock = &self.faulty.parts.clock;
        clock.sleep_until(clock.now().plus(options.wait)).await;
        self.session.receive(&at_once).await
    }

    fn spoil_leases(&self, mut leases: Vec<Lease>) -> Vec<Lease> {
        let mut memory = self.faulty.memory();
        leases.iter().for_each(|lease| memory.remember(lease));
        match self.faulty.fault {
            Fault::HandedOutTwice if leases.is_empty() => leases.extend(memory.spare.pop()),
            Fault::HandedOutTwice => memory.spare.extend(leases.first().cloned()),
            Fault::TokenRepeated => {
                leases.iter_mut().for_each(|lease| lease.token = memory.first_token(&lease.token));
            }
            Fault::DeliveriesNotCounted => {
                leases.iter_mut().for_each(|lease| {
                    (lease.task.deliveries, lease.task.attempt) = (1, 1);
                });
            }
            _ => {}
        }
        leases
    }

    /// The token that the broker gets for the one it was given.
    fn token(&self, token: &LeaseToken) -> LeaseToken {
        match self.faulty.fault {
            Fault::StaleTokenAccepted | Fault::TokenRepeated => {
                self.faulty.memory().newest_token(token)
            }
            _ => token.clone(),
        }
    }

    fn spoil_verdict(&self, verdict: &Verdict) -> Verdict {
        match (self.faulty.fault, verdict.clone()) {
            (Fault::RetryDelayIgnored, Verdict::Retry { error, .. }) => {
                Verdict::Retry { after: Duration::ZERO, error }
            }
            (Fault::ReleaseDelayIgnored, Verdict::Release { .. }) => {
                Verdict::Release { after: Duration::ZERO }
            }
            (Fault::ReleaseBurnsAttempt, Verdict::Release { after }) => {
                Verdict::Retry { after, error: None }
            }
            (Fault::ErrorDropped, Verdict::Retry { after, .. }) => {
                Verdict::Retry { after, error: None }
            }
            (Fault::DeadLetterDropped, Verdict::DeadLetter { .. }) => Verdict::Complete,
            (Fault::ReasonDropped, Verdict::DeadLetter { .. }) => {
                Verdict::DeadLetter { reason: String::new() }
            }
            (_, verdict) => verdict,
        }
    }

    fn spoil_outcome(&self, outcome: Settled, verdict: &Verdict) -> Settled {
        const DONE: Settled = Settled::Done { state: State::Done };
        match (self.faulty.fault, outcome, verdict) {
            (Fault::SettlingTwiceIsDone, Settled::AlreadyDone, _) => DONE,
            (Fault::LostIsAlreadyDone, Settled::Lost(_), _) => Settled::AlreadyDone,
            (Fault::DeadLetterDropped, Settled::Done { .. }, Verdict::DeadLetter { .. }) => {
                Settled::Done { state: State::Dead }
            }
            _ => outcome,
        }
    }

    /// Answers completes and carries out the rest.
    async fn settle_in_words(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        let mut outcomes = Vec::new();
        for verdict in verdicts {
            if verdict.1 == Verdict::Complete {
                outcomes.push(Settled::Done { state: State::Done });
            } else {
                outcomes.extend(self.session.settle(std::slice::from_ref(verdict)).await?);
            }
        }
        Ok(outcomes)
    }
}
