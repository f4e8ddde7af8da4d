//! A broker that hands out copies of one task and forgets them: what is left is the worker's cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidegate::{
    Broker, BrokerParts, Capabilities, Clock, Driver, Enqueued, Held, Inspect, Lease, LeaseToken,
    ListOptions, Member, NewTask, QueueName, QueueSpec, QueueStats, ReceiveOptions, Result,
    Session, SessionOptions, Settled, State, SystemClock, Task, TaskId, TaskView, Timestamp,
    Verdict, memory,
};

#[derive(Clone, Debug)]
struct Instant {
    capabilities: Arc<Capabilities>,
    left: Arc<AtomicUsize>,
    task: Task,
    clock: SystemClock,
}

/// A broker that has so many tasks.
pub(crate) fn broker(tasks: usize) -> Broker {
    let new = tidegate::typed::encode(&super::some(1)).expect("a task");
    let task = Task {
        id: TaskId::new(),
        queue: super::queue(),
        kind: new.kind,
        payload: new.payload,
        headers: new.headers,
        priority: 0,
        ordering_key: None,
        partition: 0,
        sequence: 1,
        deliveries: 1,
        attempt: 1,
        enqueued_at: Timestamp::default(),
        last_error: None,
        dead_letter: None,
    };
    let instant = Arc::new(Instant {
        capabilities: Arc::new(memory::capabilities()),
        left: Arc::new(AtomicUsize::new(tasks)),
        task,
        clock: SystemClock::new(),
    });
    let inspect: Arc<dyn Inspect> = instant.clone();
    Broker::new(BrokerParts {
        inspect: Some(inspect),
        ..BrokerParts::driver_only("instant", instant)
    })
}

#[async_trait]
impl Driver for Instant {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn declare(&self, _: &QueueSpec) -> Result<()> {
        Ok(())
    }

    async fn enqueue(&self, _: &QueueName, _: &[NewTask]) -> Result<Vec<Result<Enqueued>>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &QueueName, _: &SessionOptions) -> Result<Arc<dyn Session>> {
        Ok(Arc::new(self.clone()))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Session for Instant {
    async fn receive(&self, options: &ReceiveOptions) -> Result<Vec<Lease>> {
        let take = |left: usize| Some(left.saturating_sub(options.limit));
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        let count = left.unwrap_or_default().min(options.limit);
        let duration = Duration::from_secs(30);
        let until = self.clock.now().plus(duration);
        let token = LeaseToken::from_bytes(&b"0123456789abcdef01234567"[..]);
        let lease = Lease { task: self.task.clone(), token, until, duration };
        Ok(vec![lease; count])
    }

    async fn settle(&self, verdicts: &[(LeaseToken, Verdict)]) -> Result<Vec<Settled>> {
        Ok(vec![Settled::Done { state: State::Done }; verdicts.len()])
    }

    async fn extend(&self, leases: &[(LeaseToken, Duration)]) -> Result<Vec<Settled>> {
        Ok(vec![Settled::Done { state: State::Leased }; leases.len()])
    }

    async fn close(&self, _: Held) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Inspect for Instant {
    async fn queues(&self) -> Result<Vec<QueueName>> {
        Ok(vec![super::queue()])
    }

    async fn spec(&self, queue: &QueueName) -> Result<QueueSpec> {
        Ok(QueueSpec::new(queue.clone()))
    }

    async fn stats(&self, _: &QueueName) -> Result<QueueStats> {
        let ready = self.left.load(Ordering::SeqCst) as u64;
        Ok(QueueStats { ready, ..QueueStats::default() })
    }

    async fn peek(&self, _: &QueueName, _: usize) -> Result<Vec<TaskView>> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &QueueName, _: &ListOptions) -> Result<Vec<TaskView>> {
        Ok(Vec::new())
    }

    async fn get(&self, _: &QueueName, _: TaskId) -> Result<Option<TaskView>> {
        Ok(None)
    }

    async fn dead(&self, _: &QueueName, _: &tidegate::DeadFilter) -> Result<Vec<TaskView>> {
        Ok(Vec::new())
    }

    async fn members(&self, _: &QueueName) -> Result<Vec<Member>> {
        Ok(Vec::new())
    }
}
