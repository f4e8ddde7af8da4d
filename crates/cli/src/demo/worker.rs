//! A worker: finds out what became of each flight, with the help of a service that fails at times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::Duration;

use tidegate::worker::Event as WorkerEvent;
use tidegate::{
    Broker, Consumer, Context, Outcome, QueueName, Settled, State, Task, Verdict as Decided,
    Worker, WorkerOptions,
};
use tokio::sync::Notify;

use super::args::Child;
use super::flaky::Flaky;
use super::flights::{Fate, Flight};
use super::journal::{Event, Journal, Reader, Verdict};
use super::stale::Stale;
use super::{HEADER_LINE, KILLED, QUEUE};
use crate::failure::Failure;
use crate::views::hex;

/// Tasks in hand at a time.
const CONCURRENCY: usize = 32;
/// After so many completions a consumer in the process that will be killed takes tasks and hangs.
const HANG_AFTER: u64 = 300;
/// How many it takes.
const HUNG_TASKS: usize = 3;

/// Works until `end`.
pub(super) async fn work(
    broker: &Broker,
    args: &Child,
    journal: Arc<Journal>,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let queue = QueueName::new(QUEUE).map_err(Failure::failed)?;
    let unreadable = |error| Failure::failed(format!("the journal cannot be read: {error}"));
    let consumer = Consumer::open(broker, &queue).await?;
    let past = Reader::open(&args.dir).map_err(unreadable)?;
    let shared = Arc::new(Shared {
        journal,
        flaky: Flaky::new(args.seed),
        stale: Stale::of_others(args.process, past, consumer.clone()),
        completed: AtomicU64::new(0),
        milestone: Notify::new(),
    });
    let worker = worker(broker, &shared);
    let control = worker.control();
    let ending = tokio::spawn(async move {
        end.await;
        control.stop();
    });
    let hanging = (args.process == KILLED).then(|| tokio::spawn(hang(shared.clone(), consumer)));
    let worked = worker.run().await;
    ending.abort();
    if let Some(hanging) = hanging {
        hanging.abort();
    }
    worked?;
    shared.stale.present_all(&shared.journal).await
}

/// What the worker and the hung consumer share.
struct Shared {
    journal: Arc<Journal>,
    flaky: Flaky,
    stale: Stale,
    completed: AtomicU64,
    /// Told when enough was completed for the consumer to hang.
    milestone: Notify,
}

fn worker(broker: &Broker, shared: &Arc<Shared>) -> Worker {
    let options = WorkerOptions { concurrency: CONCURRENCY, ..WorkerOptions::default() };
    let (handling, observing) = (shared.clone(), shared.clone());
    let handler = move |task: Task, context: Context| {
        let shared = handling.clone();
        async move { land(&shared, &task, &context).await }
    };
    Worker::new(broker)
        .queue(QUEUE)
        .options(options)
        .handle_rest(handler)
        .observe(move |task, event| observe(&observing, task, &event))
}

/// The work on one flight.
async fn land(shared: &Shared, task: &Task, context: &Context) -> Outcome {
    let line = line_of(task);
    let (attempt, deliveries) = (context.attempt(), task.deliveries);
    shared.journal.write(Event::Started { line, attempt, deliveries });
    if deliveries > 1
        && let Err(error) = shared.stale.present(line, &shared.journal).await
    {
        return Outcome::retry(error);
    }
    let flight = match Flight::read(&task.payload) {
        Ok(flight) => flight,
        Err(why) => return Outcome::dead_letter(why),
    };
    let fate = flight.fate();
    if fate != Fate::Cancelled
        && let Err(error) = shared.flaky.call(line, attempt).await
    {
        return Outcome::retry(error);
    }
    shared.journal.write(Event::Found { line, fate });
    match fate {
        Fate::Cancelled => Outcome::dead_letter("cancelled: the flight never left"),
        Fate::Unknown | Fate::Delay(_) => Outcome::done(),
    }
}

fn observe(shared: &Shared, task: &Task, event: &WorkerEvent<'_>) {
    let WorkerEvent::Settled { verdict, settled } = event else { return };
    let verdict = match verdict {
        Decided::Complete => Verdict::Complete,
        Decided::Retry { .. } => Verdict::Retry,
        Decided::Release { .. } => Verdict::Release,
        Decided::DeadLetter { .. } => Verdict::DeadLetter,
    };
    let accepted = matches!(settled, Settled::Done { .. } | Settled::AlreadyDone);
    shared.journal.write(Event::Settled { line: line_of(task), verdict, accepted });
    if matches!(settled, Settled::Done { state: State::Done }) {
        let completed = shared.completed.fetch_add(1, Memory::Relaxed) + 1;
        if completed == HANG_AFTER {
            shared.milestone.notify_one();
        }
    }
}

/// A consumer that takes tasks and never answers, as a process does that hangs. Its tokens outlive
/// it in the journal.
async fn hang(shared: Arc<Shared>, consumer: Consumer) {
    shared.milestone.notified().await;
    let mut held = BTreeMap::new();
    while held.len() < HUNG_TASKS {
        let wanted = HUNG_TASKS - held.len();
        let Ok(leases) = consumer.receive(wanted, Duration::from_millis(500)).await else { return };
        for lease in leases {
            let (line, token) = (line_of(&lease.task), hex(lease.token.as_bytes()));
            shared.journal.write(Event::Hung { line, token });
            held.insert(line, lease);
        }
    }
    std::future::pending::<()>().await;
}

/// The line that a task came from; every one carries it.
fn line_of(task: &Task) -> u32 {
    task.headers.get(HEADER_LINE).and_then(|line| line.parse().ok()).unwrap_or_default()
}
