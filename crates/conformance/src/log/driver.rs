//! The driver's face of the log: one lock around what survives and what does not.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tidegate_core::error::Operation;
use tidegate_core::{
    Capabilities, Clock, Driver, Enqueued, Error, ErrorKind, NewTask, QueueName, QueueSpec, Result,
    Session, SessionOptions, Timestamp,
};
use tokio::sync::watch;

use super::capabilities;
use super::group::Group;
use super::journal::{Journal, Record};
use super::session::LogSession;

/// A broker on a log.
pub(super) struct Log {
    capabilities: Capabilities,
    shared: Arc<Shared>,
}

/// What a broker and its sessions share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    journal: Arc<Mutex<Journal>>,
    group: Mutex<Open>,
    /// Changes with everything that receivers may wait for.
    pub(super) changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Open {
    group: Group,
    closed: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    pub(super) fn new(journal: Arc<Mutex<Journal>>, clock: Arc<dyn Clock>) -> Self {
        let (group, changed) = (Mutex::default(), watch::Sender::new(0));
        let shared = Arc::new(Shared { clock, journal, group, changed });
        Self { capabilities: capabilities(), shared }
    }
}

impl Shared {
    /// Runs one command as of now, and tells those who wait.
    pub(super) fn command<T>(
        &self,
        doing: Operation,
        command: impl FnOnce(&mut Journal, &mut Group, Timestamp) -> Result<T>,
    ) -> Result<T> {
        let answer = self.look(doing, command);
        self.changed.send_modify(|version| *version += 1);
        answer
    }

    /// Runs one command that gives those who wait no reason to look again.
    pub(super) fn look<T>(
        &self,
        doing: Operation,
        command: impl FnOnce(&mut Journal, &mut Group, Timestamp) -> Result<T>,
    ) -> Result<T> {
        let mut open = lock(&self.group);
        if open.closed {
            return Err(Error::new(ErrorKind::Closed, doing, "the broker was closed"));
        }
        command(&mut lock(&self.journal), &mut open.group, self.clock.now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Driver for Log {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.shared.command(Operation::Declare, |journal, _, _| journal.declare(spec))
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        self.shared.command(Operation::Enqueue, |journal, _, now| {
            journal.queue(queue, Operation::Enqueue)?;
            let append = |task: &NewTask| {
                let sequence = journal.number();
                let (task, id) = (task.clone(), task.id);
                let (last_error, dead_letter) = (None, None);
                let record = Record { task, sequence, enqueued_at: now, last_error, dead_letter };
                journal.append(queue, record);
                Ok(Enqueued { id, sequence, deduplicated: false })
            };
            Ok(tasks.iter().map(append).collect())
        })
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        // WHY: a lease ends with its session here, whoever holds it.
        let SessionOptions { membership: _, holder: _ } = options;
        let (id, queue_id) = self.shared.command(Operation::OpenSession, |journal, group, _| {
            let queue = journal.queue(queue, Operation::OpenSession)?.id;
            let id = journal.number();
            group.sessions.insert(id);
            Ok((id, queue))
        })?;
        Ok(Arc::new(LogSession { shared: self.shared.clone(), queue: queue.clone(), queue_id, id }))
    }

    async fn close(&self) -> Result<()> {
        lock(&self.shared.group).closed = true;
        self.shared.changed.send_modify(|version| *version += 1);
        Ok(())
    }
}
