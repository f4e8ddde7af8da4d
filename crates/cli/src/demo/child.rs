//! One of the demo's processes: a producer or a worker, at the queue that all of them share.

use std::sync::Arc;
use std::time::Duration;

use tidegate::{Broker, Capacity, Ordering, QueueName, QueueSpec, RetryPolicy};
use tokio::io::AsyncReadExt;

use super::args::{Child, Role};
use super::journal::{Event, Journal};
use super::{QUEUE, producer, queue_url, worker};
use crate::failure::Failure;

/// Small, so that the producer is seen to wait.
const CAPACITY: u64 = 200;
const LEASE: Duration = Duration::from_secs(2);

/// Opens the queue as every process does, and plays the part.
pub(crate) async fn run(args: Child) -> Result<(), Failure> {
    let broker = tidegate::connect(&queue_url(&args.dir)).await?;
    let played = play(&broker, &args).await;
    broker.close().await?;
    played
}

async fn play(broker: &Broker, args: &Child) -> Result<(), Failure> {
    let journal = begin(broker, args).await?;
    match args.role {
        Role::Producer => producer::send_all(broker, journal).await,
        Role::Worker => worker::work(broker, args, journal, end_of_stdin()).await,
    }
}

/// Makes the queue, and the journal's first entry.
pub(super) async fn begin(broker: &Broker, args: &Child) -> Result<Arc<Journal>, Failure> {
    broker.declare(&spec()?).await?;
    let journal = Journal::open(&args.dir, args.process);
    let journal = journal.map_err(|error| Failure::failed(format!("no journal: {error}")))?;
    journal.write(Event::Ready);
    Ok(Arc::new(journal))
}

fn spec() -> Result<QueueSpec, Failure> {
    Ok(QueueSpec {
        ordering: Ordering::Key,
        capacity: Capacity::Bounded(CAPACITY),
        lease: LEASE,
        retry: RetryPolicy {
            initial_delay: Duration::from_millis(40),
            max_attempts: 8,
            ..RetryPolicy::default()
        },
        ..QueueSpec::new(QueueName::new(QUEUE).map_err(Failure::failed)?)
    })
}

/// The demo holds the other end; it closes that when all is done, or dies.
async fn end_of_stdin() {
    // What cannot be read has ended too.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}
