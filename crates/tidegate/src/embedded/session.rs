//! One consumer's place at a queue of a shared directory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{
    Driver, Error, ErrorKind, Held, Lease, LeaseToken, Operation, QueueName, ReceiveOptions,
    Result, Session, SessionOptions, Settled, Verdict,
};
use tokio::sync::OnceCell;

use super::seat::{At, Seat};

/// A place at the engine, in this process or in another; it follows the engine when that comes here.
pub(super) struct SharedSession {
    seat: Arc<Seat>,
    queue: QueueName,
    options: SessionOptions,
    here: OnceCell<Arc<dyn Session>>,
    there: OnceCell<Arc<dyn Session>>,
    closed: AtomicBool,
}

impl fmt::Debug for SharedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedSession").field(&self.queue).finish()
    }
}

impl SharedSession {
    pub(super) async fn open(
        seat: Arc<Seat>,
        queue: &QueueName,
        options: &SessionOptions,
    ) -> Result<Self> {
        let (queue, options) = (queue.clone(), options.clone());
        let (here, there) = (OnceCell::new(), OnceCell::new());
        let session = Self { seat, queue, options, here, there, closed: AtomicBool::new(false) };
        let place = || async { session.place(Operation::OpenSession).await.map(drop) };
        session.seat.answered(Operation::OpenSession, |_| Ok(Box::pin(place()))).await?;
        Ok(session)
    }

    async fn place(&self, doing: Operation) -> Result<&Arc<dyn Session>> {
        if self.closed.load(Ordering::Acquire) {
            let why = "the session was closed";
            return Err(Error::new(ErrorKind::Closed, doing, why).on(&self.queue));
        }
        match self.seat.at(doing).await? {
            At::Held(holder) => {
                let open = || holder.driver().open(&self.queue, &self.options);
                self.here.get_or_try_init(open).await
            }
            At::Attached(remote, _) => {
                self.there.get_or_try_init(|| remote.open(&self.queue, &self.options)).await
            }
        }
    }
}

#[async_trait]
impl Session for SharedSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        self.place(Operation::Receive).await?.receive(options).await
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.place(Operation::Settle).await?.settle(verdicts).await
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        self.place(Operation::Extend).await?.extend(leases).await
    }

    async fn close(&self, held: Held) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        if let Some(there) = self.there.get() {
            there.close(held).await?;
        }
        match self.here.get() {
            Some(here) => here.close(held).await,
            None => Ok(()),
        }
    }
}
