//! The threads that answer. A connection stays with one of them, so that nothing of a call goes from one
//! thread to another, which takes longer than most calls.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tidegate_core::queueing;
use tokio::runtime::{Builder, Handle, Runtime};

/// The threads of a server.
#[derive(Debug)]
pub(super) struct Threads {
    first: Answering,
    others: Vec<Answering>,
}

/// A thread, or the caller's runtime in the place of all.
#[derive(Clone, Debug)]
pub(super) struct Thread {
    pub(super) handle: Handle,
    /// One for each connection, and one.
    connections: Arc<()>,
}

#[derive(Debug)]
struct Answering {
    thread: Thread,
    /// `None` where the runtime is the caller's.
    runtime: Option<Runtime>,
}

/// A connection's place with its thread. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    _counted: Arc<()>,
}

impl Threads {
    /// So many threads; with `None` the runtime of the caller answers.
    pub(super) fn new(count: Option<NonZeroUsize>) -> io::Result<Self> {
        let Some(count) = count else {
            let first = Answering { thread: Thread::of(Handle::current()), runtime: None };
            return Ok(Self { first, others: Vec::new() });
        };
        let first = Answering::start()?;
        let others = (1..count.get()).map(|_| Answering::start()).collect::<io::Result<_>>()?;
        Ok(Self { first, others })
    }

    /// The one that sockets belong to.
    pub(super) fn first(&self) -> &Thread {
        &self.first.thread
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Thread> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|answering| answering.thread.clone()).collect()
    }
}

impl Answering {
    fn start() -> io::Result<Self> {
        // WHY: one worker of many, not a runtime of one thread: on that the engine never syncs where it is.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tidegate-answers")
            .on_thread_park(queueing::thread_is_idle)
            .enable_all()
            .build()?;
        Ok(Self { thread: Thread::of(runtime.handle().clone()), runtime: Some(runtime) })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // WHY: a runtime must not be waited for where another one runs.
            runtime.shutdown_background();
        }
    }
}

impl Thread {
    fn of(handle: Handle) -> Self {
        Self { handle, connections: Arc::default() }
    }

    /// A place for a connection.
    pub(super) fn place(&self) -> Place {
        Place { _counted: self.connections.clone() }
    }

    /// How many connections it has, about.
    pub(super) fn load(&self) -> usize {
        Arc::strong_count(&self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_knows_how_many_connections_it_has() {
        let threads = Threads::new(NonZeroUsize::new(2)).unwrap();
        let all = threads.all();
        let first = all[0].place();
        assert_eq!(all[0].load() - all[1].load(), 1);
        drop(first);
        assert_eq!(all[0].load(), all[1].load());
    }
}
