//! A place to receive from a queue: the concrete type over a driver's session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::admit;
use crate::broker::{Broker, has_long_text, with_cut_texts};
use crate::driver::{Held, ReceiveOptions, Session};
use crate::error::{Error, ErrorKind, Operation, Result};
use crate::lease::{Lease, LeaseToken, Settled, Verdict};
use crate::limits::TOKEN_BYTES_MAX;
use crate::name::QueueName;

/// One consumer's place at a queue. Cheap to clone; clones are the same place.
#[derive(Clone)]
pub struct Receiver {
    broker: Broker,
    queue: QueueName,
    session: Arc<dyn Session>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("queue", &self.queue)
            .field("broker", &self.broker)
            .finish()
    }
}

impl Receiver {
    pub(crate) fn new(broker: Broker, queue: QueueName, session: Arc<dyn Session>) -> Self {
        Self { broker, queue, session }
    }

    /// The queue it receives from.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// The broker it belongs to.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Hands out up to `limit` tasks; may return none. Dropping the future may strand a lease
    /// until it ends: stop calling instead.
    pub async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let capabilities = self.broker.capabilities();
        admit::receive(capabilities, options).map_err(|error| error.on(&self.queue))?;
        let limit = options.limit.min(capabilities.batch_max);
        self.session.receive(&ReceiveOptions { limit, ..options.clone() }).await
    }

    /// Carries out verdicts, one outcome each, in order. If one of them is refused, none is
    /// carried out.
    pub async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        for (token, verdict) in verdicts {
            admit::verdict(self.broker.capabilities(), verdict)
                .and_then(|()| readable(token, Operation::Settle))
                .map_err(|error| error.on(&self.queue))?;
        }
        let texts_fit = verdicts.iter().all(|(_, verdict)| !has_long_text(verdict));
        let cut: Vec<_>;
        let verdicts = if texts_fit {
            verdicts
        } else {
            let with_cut =
                |(token, verdict): &(LeaseToken, Verdict)| (token.clone(), with_cut_texts(verdict));
            cut = verdicts.iter().map(with_cut).collect();
            &cut
        };
        let mut outcomes = Vec::with_capacity(verdicts.len());
        for batch in verdicts.chunks(self.broker.capabilities().batch_max) {
            outcomes.extend(self.session.settle(batch).await?);
        }
        Ok(outcomes)
    }

    /// Carries out one verdict.
    pub async fn settle_one(&self, token: &LeaseToken, verdict: Verdict) -> Result<Settled> {
        let outcomes = self.settle(&[(token.clone(), verdict)]).await?;
        outcomes.into_iter().next().ok_or_else(|| self.short_answer(Operation::Settle))
    }

    /// Completes a task: the work is done.
    pub async fn complete(&self, lease: &Lease) -> Result<Settled> {
        self.settle_one(&lease.token, Verdict::Complete).await
    }

    /// Gives live leases this long from now, one outcome each, in order.
    pub async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        for (token, length) in leases {
            admit::lease_length(self.broker.capabilities(), *length, Operation::Extend)
                .and_then(|()| readable(token, Operation::Extend))
                .map_err(|error| error.on(&self.queue))?;
        }
        let mut outcomes = Vec::with_capacity(leases.len());
        for batch in leases.chunks(self.broker.capabilities().batch_max) {
            outcomes.extend(self.session.extend(batch).await?);
        }
        Ok(outcomes)
    }

    /// Gives one live lease this long from now.
    pub async fn extend_one(&self, token: &LeaseToken, length: Duration) -> Result<Settled> {
        let outcomes = self.extend(&[(token.clone(), length)]).await?;
        outcomes.into_iter().next().ok_or_else(|| self.short_answer(Operation::Extend))
    }

    /// Ends the session. Every later call is `Closed`.
    pub async fn close(&self, held: Held) -> Result<()> {
        self.session.close(held).await
    }

    fn short_answer(&self, operation: Operation) -> Error {
        let why = "the broker answered for fewer leases than it was asked about";
        Error::new(ErrorKind::Unexpected, operation, why).on(&self.queue)
    }
}

fn readable(token: &LeaseToken, operation: Operation) -> Result<()> {
    if token.as_bytes().len() > TOKEN_BYTES_MAX {
        let why = "the lease token is longer than any token; pass it on as it was received";
        return Err(Error::new(ErrorKind::Invalid, operation, why));
    }
    Ok(())
}
