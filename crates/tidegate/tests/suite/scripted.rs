//! A memory broker that does what a test's script says: fails, hangs, waits, and remembers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidegate::{
    Broker, BrokerParts, Capabilities, Driver, Enqueued, Error, ErrorKind, Held, Lease, LeaseToken,
    ManualClock, NewTask, Operation, QueueName, QueueSpec, ReceiveOptions, Result, Session,
    SessionOptions, Settled, Verdict, memory,
};
use tokio::sync::Semaphore;

/// What happens to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Works,
    IsUnavailable,
    Hangs,
}

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) extend: Mutex<Fate>,
    pub(crate) extends: AtomicUsize,
    /// So many settles are unavailable before they work again.
    pub(crate) failing_settles: AtomicUsize,
    pub(crate) settles: AtomicUsize,
    pub(crate) enqueues: AtomicUsize,
    /// Enqueues pass one by one where it is set.
    pub(crate) gate_enqueues: AtomicBool,
    pub(crate) enqueue_gate: Semaphore,
    /// Leases that were received wait here before they are returned, where it is set.
    pub(crate) gate_receives: AtomicBool,
    pub(crate) receive_gate: Semaphore,
    pub(crate) received: AtomicUsize,
    pub(crate) receives_under_way: AtomicUsize,
}

#[derive(Debug)]
struct ScriptedDriver {
    capabilities: Capabilities,
    inner: Arc<dyn Driver>,
    script: Arc<Script>,
}

#[derive(Debug)]
struct ScriptedSession {
    inner: Arc<dyn Session>,
    script: Arc<Script>,
}

/// A scripted broker on a clock that stands still.
pub(crate) fn broker() -> (Broker, Arc<Script>, ManualClock) {
    broker_that(memory::capabilities())
}

/// A scripted broker that says it can do this much.
pub(crate) fn broker_that(capabilities: Capabilities) -> (Broker, Arc<Script>, ManualClock) {
    let clock = ManualClock::new();
    let parts = memory::broker(Arc::new(clock.clone())).parts().clone();
    let script = Arc::new(Script {
        extend: Mutex::default(),
        extends: AtomicUsize::new(0),
        failing_settles: AtomicUsize::new(0),
        settles: AtomicUsize::new(0),
        enqueues: AtomicUsize::new(0),
        gate_enqueues: AtomicBool::new(false),
        enqueue_gate: Semaphore::new(0),
        gate_receives: AtomicBool::new(false),
        receive_gate: Semaphore::new(0),
        received: AtomicUsize::new(0),
        receives_under_way: AtomicUsize::new(0),
    });
    let inner = parts.driver.clone();
    let driver = ScriptedDriver { capabilities, inner, script: script.clone() };
    let parts = BrokerParts { driver: Arc::new(driver), ..parts };
    (Broker::new(parts), script, clock)
}

fn unavailable(operation: Operation) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the script says so")
}

#[async_trait]
impl Driver for ScriptedDriver {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, spec: &QueueSpec) -> Result<()> {
        self.inner.declare(spec).await
    }

    async fn enqueue(&self, queue: &QueueName, tasks: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        if self.script.gate_enqueues.load(Ordering::SeqCst) {
            self.script.enqueue_gate.acquire().await.unwrap().forget();
        }
        self.script.enqueues.fetch_add(1, Ordering::SeqCst);
        self.inner.enqueue(queue, tasks).await
    }

    async fn open(&self, queue: &QueueName, options: &SessionOptions) -> Result<Arc<dyn Session>> {
        let inner = self.inner.open(queue, options).await?;
        Ok(Arc::new(ScriptedSession { inner, script: self.script.clone() }))
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Session for ScriptedSession {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        self.script.receives_under_way.fetch_add(1, Ordering::SeqCst);
        let received = self.inner.receive(options).await;
        self.script.receives_under_way.fetch_sub(1, Ordering::SeqCst);
        let leases = received?;
        self.script.received.fetch_add(leases.len(), Ordering::SeqCst);
        if self.script.gate_receives.load(Ordering::SeqCst) && !leases.is_empty() {
            self.script.receive_gate.acquire().await.unwrap().forget();
        }
        Ok(leases)
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        self.script.settles.fetch_add(1, Ordering::SeqCst);
        let less = |left: usize| left.checked_sub(1);
        let fails = &self.script.failing_settles;
        if fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(unavailable(Operation::Settle));
        }
        self.inner.settle(verdicts).await
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        self.script.extends.fetch_add(1, Ordering::SeqCst);
        let fate = *self.script.extend.lock().unwrap();
        match fate {
            Fate::Works => self.inner.extend(leases).await,
            Fate::IsUnavailable => Err(unavailable(Operation::Extend)),
            Fate::Hangs => std::future::pending().await,
        }
    }

    async fn close(&self, held: Held) -> Result<()> {
        self.inner.close(held).await
    }
}

/// Waits until `condition` holds, and fails after 20 seconds of the machine's time.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn name(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) async fn stats(broker: &Broker, queue: &str) -> tidegate::QueueStats {
    broker.inspect().unwrap().stats(&name(queue)).await.unwrap()
}

/// The only task of a queue.
pub(crate) async fn only_task(broker: &Broker, queue: &str) -> tidegate::TaskView {
    let options = tidegate::ListOptions { limit: 2, ..tidegate::ListOptions::default() };
    let mut views = broker.inspect().unwrap().list(&name(queue), &options).await.unwrap();
    assert_eq!(views.len(), 1);
    views.pop().unwrap()
}

/// Enqueues tasks of a kind with the default queue of that name.
pub(crate) async fn fill(broker: &Broker, queue: &str, kinds: &[&'static str]) {
    broker.declare(&QueueSpec::new(name(queue))).await.unwrap();
    let tasks: Vec<NewTask> = kinds.iter().map(|kind| NewTask::new(*kind, "1")).collect();
    for outcome in broker.enqueue(&name(queue), &tasks).await.unwrap() {
        outcome.unwrap();
    }
}
