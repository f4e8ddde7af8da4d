//! What a queue must be able to do to be measured.

use std::error::Error;
use std::path::Path;

use async_trait::async_trait;

use crate::durability::Durability;

/// Something went wrong that the measurement cannot go on after.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;
/// What may go wrong.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A queue, empty and ready.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// A client of its own. `number` is new for each.
    async fn client(&self, number: usize) -> Result<Box<dyn Client>>;

    /// The process that serves it, if it is not this one.
    fn server(&self) -> Option<u32>;
}

/// A client that does one thing after the other.
#[async_trait]
pub(crate) trait Client: Send {
    /// Sends tasks, and returns once all are as durable as the queue was set to make them.
    async fn send(&mut self, payloads: &[Vec<u8>]) -> Result<()>;

    /// Takes up to `most` tasks in hand and tells their payloads. May return none.
    async fn receive(&mut self, most: usize) -> Result<Vec<Vec<u8>>>;

    /// Completes all that is in hand, and returns once that is durable.
    async fn complete(&mut self) -> Result<()>;
}

/// How a kind of queue is started.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The program that must be there, if one must.
    pub(crate) program: Option<&'static str>,
    /// Which of its settings a durability is; `None` where it has none like it.
    pub(crate) setting: fn(Durability) -> Option<&'static str>,
    pub(crate) start: for<'a> fn(&'a Path, Durability, usize) -> Starting<'a>,
}

/// A queue that is being started in a directory of its own, for so many clients.
pub(crate) type Starting<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<Box<dyn Peer>>> + Send + 'a>>;
