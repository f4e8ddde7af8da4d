//! One consumer's place at a queue of the log.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::error::Operation;
use tidegate_core::{
    Error, ErrorKind, Held, Lease, LeaseToken, QueueName, ReceiveOptions, Result, Session, Settled,
    Timestamp, Verdict,
};

use super::driver::Shared;
use super::group::Group;
use super::token::Fenced;

pub(super) struct LogSession {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: QueueName,
    pub(super) queue_id: u64,
    pub(super) id: u64,
}

impl fmt::Debug for LogSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogSession").field(&self.queue).finish()
    }
}

impl Drop for LogSession {
    fn drop(&mut self) {
        // WHY: a broker that was closed has forgotten its sessions already.
        let _ = self.leave();
    }
}

#[async_trait]
impl Session for LogSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let clock = self.shared.clock.clone();
        let deadline = clock.now().plus(options.wait);
        loop {
            // INVARIANT: subscribed before looking, so that no change goes unseen.
            let mut changed = self.shared.changed.subscribe();
            let (leases, next_end) = self.try_receive(options)?;
            if !leases.is_empty() || clock.now() >= deadline {
                return Ok(leases);
            }
            let until = next_end.map_or(deadline, |end| end.min(deadline));
            tokio::select! {
                _ = changed.changed() => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.shared.command(Operation::Settle, |journal, group, now| {
            let tokens = verdicts.iter().map(|(token, _)| token);
            let tokens = self.read(group, tokens, Operation::Settle)?;
            let verdicts = verdicts.iter().map(|(_, verdict)| verdict);
            let settle =
                |(fenced, verdict)| group.settle(journal, &self.queue, fenced, verdict, now);
            Ok(tokens.into_iter().zip(verdicts).map(settle).collect())
        })
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        self.shared.command(Operation::Extend, |journal, group, now| {
            let tokens = leases.iter().map(|(token, _)| token);
            let tokens = self.read(group, tokens, Operation::Extend)?;
            let lengths = leases.iter().map(|(_, length)| *length);
            let extend = |(fenced, length)| group.extend(journal, &self.queue, fenced, length, now);
            Ok(tokens.into_iter().zip(lengths).map(extend).collect())
        })
    }

    async fn close(&self, held: Held) -> Result<()> {
        // WHY: a connection lease cannot be kept beyond its connection.
        let (Held::Release | Held::Keep) = held;
        self.leave()
    }
}

impl LogSession {
    fn leave(&self) -> Result<()> {
        self.shared.command(Operation::Close, |_, group, _| {
            group.leave(self.id);
            Ok(())
        })
    }

    fn open(&self, group: &Group, doing: Operation) -> Result<()> {
        if group.sessions.contains(&self.id) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, doing, "the session was closed").on(&self.queue))
    }

    fn try_receive(&self, options: &ReceiveOptions) -> Result<(Vec<Lease>, Option<Timestamp>)> {
        self.shared.look(Operation::Receive, |journal, group, now| {
            self.open(group, Operation::Receive)?;
            journal.queue(&self.queue, Operation::Receive)?;
            let leases = group.receive(journal, &self.queue, self.id, options, now);
            Ok((leases, group.next_end(&self.queue, now)))
        })
    }

    /// Reads tokens, all or none. One that a session which is still there issued is an error
    /// elsewhere; one of a session that is gone is readable, and lost.
    fn read<'a>(
        &self,
        group: &Group,
        tokens: impl Iterator<Item = &'a LeaseToken>,
        doing: Operation,
    ) -> Result<Vec<Fenced>> {
        self.open(group, doing)?;
        let invalid = |why: &str| {
            let why = format!("{why}; pass it on in the session that received it");
            Err(Error::new(ErrorKind::Invalid, doing, why).on(&self.queue))
        };
        let read = |token| match Fenced::from_token(token) {
            None => invalid("the lease token is not one of this broker's"),
            Some(fenced) if fenced.queue != self.queue_id => {
                invalid("the lease token belongs to another queue")
            }
            Some(fenced)
                if fenced.session != self.id && group.sessions.contains(&fenced.session) =>
            {
                invalid("the lease token belongs to another session")
            }
            Some(fenced) => Ok(fenced),
        };
        tokens.map(read).collect()
    }
}
