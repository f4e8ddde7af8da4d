//! What an adapter implements. No method has a default body: when one is added, the compiler lists
//! every adapter.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::error::Result;
use crate::id::TaskId;
use crate::lease::{Lease, LeaseToken, Settled, Verdict};
use crate::limits;
use crate::name::QueueName;
use crate::queue::QueueSpec;
use crate::task::NewTask;

/// What became of one enqueued task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id, or the id of the earlier task with the same dedup key.
    pub id: TaskId,
    /// Its sequence, or that of the earlier task.
    pub sequence: u64,
    /// Whether an earlier task with the same dedup key stands for it.
    pub deduplicated: bool,
}

/// Whether a session takes part in sharing out partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Membership {
    /// It receives from all partitions, beside others.
    #[default]
    Shared,
    /// It is a member of the queue's group under this instance id, which is new with every start.
    Member(String),
}

/// Who holds the leases of a session, and so what a restart of the broker does to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// The process that opened the broker. An embedded broker that opens again knows that process
    /// is gone, and ends its leases at once.
    #[default]
    Process,
    /// A client that outlives this process, as a server's do. After a restart its leases get one
    /// full length.
    Client,
}

/// How a session is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Whether it takes part in sharing out partitions.
    pub membership: Membership,
    /// Who holds its leases.
    pub holder: Holder,
}

/// How tasks are received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// Most tasks to hand out; at least 1. A broker may hand out fewer although more are ready: the
    /// embedded engine does after 16 MiB of them.
    pub limit: usize,
    /// How long to wait for the first one. Zero asks once.
    pub wait: Duration,
    /// How long to hold them; `None` is the queue's lease.
    pub lease: Option<Duration>,
    /// Most tasks of one ordering key; at least 1.
    pub per_key: usize,
    /// Names this receive, so that it can be made again when its answer was lost. For
    /// [`Capabilities::attempt_memory`] a receive with the same id, from whatever session, gets the same
    /// tasks with the same tokens, and their leases begin anew, as long as each of them is held as it
    /// was handed out: not settled, extended or expired, and no more of them than the limit. Otherwise,
    /// and if nothing was handed out, it is a new receive.
    pub attempt_id: Option<AttemptId>,
}

/// The name of one receive: 1 to 128 bytes, new for every receive that is not made again. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(Arc<str>);

impl AttemptId {
    /// Checks `id`. The error says which rule it breaks.
    pub fn new(id: impl AsRef<str>) -> Result<Self, String> {
        match id.as_ref() {
            "" => Err("an attempt id is empty; leave it out instead".into()),
            id if id.len() > limits::ATTEMPT_ID_BYTES_MAX => {
                let (bytes, most) = (id.len(), limits::ATTEMPT_ID_BYTES_MAX);
                Err(format!("an attempt id has {bytes} bytes, at most {most} fit"))
            }
            id => Ok(Self(id.into())),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ReceiveOptions {
    /// Up to `limit` tasks, at once or not at all, with the queue's lease and one task a key.
    pub fn up_to(limit: usize) -> Self {
        Self { limit, wait: Duration::ZERO, lease: None, per_key: 1, attempt_id: None }
    }

    /// Waits this long for the first task.
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Holds the tasks this long.
    pub fn leased_for(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Under this name, by which it can be made again.
    pub fn named(mut self, id: AttemptId) -> Self {
        self.attempt_id = Some(id);
        self
    }

    /// Takes up to this many tasks of one key.
    pub fn per_key(mut self, per_key: usize) -> Self {
        self.per_key = per_key;
        self
    }
}

/// What happens to the leases of a session that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are given back at once; the attempts do not count where the broker can tell.
    Release,
    /// They go on until their time ends. A connection lease can't, and is given back.
    Keep,
}

/// A broker as its adapter sees it.
///
/// The caller ([`crate::Broker`]) has validated every argument, checked it against
/// [`Driver::capabilities`] and split batches; a driver does none of that again. A driver never
/// retries: it says whether a retry helps.
#[async_trait]
pub trait Driver: Debug + Send + Sync + 'static {
    /// What this broker can do. Never changes during its life.
    fn capabilities(&self) -> &Capabilities;

    /// Creates the queue, or finds it with the same spec. A different one is `Conflict`. A
    /// dead-letter queue that the spec names is created where it is missing.
    async fn declare(&self, spec: &QueueSpec) -> Result<()>;

    /// Enqueues `tasks` and returns one outcome per task, in order. `Err` outside means that
    /// nothing is known about any of them. Returns when the tasks are as durable as the broker is
    /// set to make them.
    ///
    /// Dropping the future leaves the outcome unknown: all, some or none may be enqueued.
    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>>;

    /// Opens a session on a queue that exists.
    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>>;

    /// Stops all work and makes what was acknowledged durable. Every later call is `Closed`.
    async fn close(&self) -> Result<()>;
}

/// One consumer's place at a queue.
#[async_trait]
pub trait Session: Debug + Send + Sync + 'static {
    /// Hands out up to `limit` tasks. Waits up to `wait` for the first and never for more. May
    /// return none at any time. Never retries.
    ///
    /// Dropping the future may strand a lease until it ends: a poller stops calling, it never
    /// drops.
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>>;

    /// Carries out verdicts, one outcome each, in order. Compares fences only, so that a lease
    /// that ended but was not handed out again still settles. A token that cannot be read is an
    /// error, and then nothing was carried out.
    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>>;

    /// Gives live leases this long from now, one outcome each, in order.
    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>>;

    /// Ends the session. Every later call is `Closed`. Dropping a session without it is the same
    /// as `Held::Keep`.
    async fn close(&self, held: Held) -> Result<()>;
}
