//! The process that is killed: it holds the queue, sends the flights and works on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::Duration;

use tidegate::worker::{Control, Event as WorkerEvent};
use tidegate::{
    Broker, Capacity, Consumer, Context, NewTask, Ordering, Outcome, Producer, QueueName,
    QueueSpec, RetryPolicy, Settled, State, Task, Unique, Verdict as Decided, WhenFull, Worker,
    WorkerOptions,
};
use tokio::sync::Notify;

use super::args::Child;
use super::flaky::Flaky;
use super::flights::{Fate, Flight, lines};
use super::journal::{Event, Journal, Reader, Verdict};
use super::stale::Stale;
use super::{QUEUE, queue_url};
use crate::commands::send::positions_of_full;
use crate::failure::Failure;
use crate::views::hex;

/// Small, so that the sender is seen to wait.
const CAPACITY: u64 = 200;
const LEASE: Duration = Duration::from_secs(2);
const CONCURRENCY: usize = 32;
/// Tasks sent at once.
const BATCH: usize = 50;
/// Longer than the demo takes: what was sent in the first run is known in the second.
const DEDUP_WINDOW: Duration = Duration::from_secs(3_600);
/// The sender gives up when no room came for so long.
const ROOM_PATIENCE: Duration = Duration::from_secs(30);
/// After so many completions a consumer takes tasks in the first run and hangs.
const HANG_AFTER: u64 = 1_000;
/// How many it takes.
const HUNG_TASKS: usize = 3;
/// The header with a flight's line.
const HEADER_LINE: &str = "line";

/// Sends, works, and ends when everything was sent and nothing is left to do.
pub(crate) async fn run(args: Child) -> Result<(), Failure> {
    let broker = tidegate::connect(&queue_url(&args.dir)).await?;
    let worked = play(&broker, &args).await;
    broker.close().await?;
    worked
}

/// The same on a broker that is there.
pub(super) async fn play(broker: &Broker, args: &Child) -> Result<(), Failure> {
    let queue = QueueName::new(QUEUE).map_err(Failure::failed)?;
    broker.declare(&spec(queue.clone())).await?;
    let unreadable = |error| Failure::failed(format!("the journal cannot be used: {error}"));
    let past = Reader::open(&args.dir).and_then(|mut reader| reader.read()).map_err(unreadable)?;
    let consumer = Consumer::open(broker, &queue).await?;
    let shared = Arc::new(Shared {
        journal: Journal::open(&args.dir, args.run).map_err(unreadable)?,
        flaky: Flaky::new(args.seed),
        stale: Stale::from(&past, consumer.clone()),
        completed: AtomicU64::new(0),
        milestone: Notify::new(),
    });
    let worker = worker(broker, &shared);
    let control = worker.control();
    let hang = tokio::spawn(hang(shared.clone(), consumer, args.run));
    let send = tokio::spawn(send(broker.clone(), queue.clone(), shared.clone(), control));
    let worked = worker.run().await;
    hang.abort();
    // WHY: the sender stops the worker last, so one that is not done now will never be.
    send.abort();
    let sent = send.await;
    shared.stale.present_all(&shared.journal).await?;
    worked?;
    sent.unwrap_or_else(|_| Err(Failure::failed("the worker was stopped before all was done")))
}

/// What sender, worker and hung consumer share.
struct Shared {
    journal: Journal,
    flaky: Flaky,
    stale: Stale,
    completed: AtomicU64,
    /// Told when enough was completed for the consumer to hang.
    milestone: Notify,
}

fn spec(queue: QueueName) -> QueueSpec {
    QueueSpec {
        ordering: Ordering::Key,
        capacity: Capacity::Bounded(CAPACITY),
        lease: LEASE,
        retry: RetryPolicy {
            initial_delay: Duration::from_millis(40),
            max_attempts: 8,
            ..RetryPolicy::default()
        },
        ..QueueSpec::new(queue)
    }
}

/// Sends all flights, and stops the worker when they are done.
async fn send(
    broker: Broker,
    queue: QueueName,
    shared: Arc<Shared>,
    control: Control,
) -> Result<(), Failure> {
    let sent = send_and_wait(&broker, &queue, &shared).await;
    control.stop();
    sent
}

async fn send_and_wait(broker: &Broker, queue: &QueueName, shared: &Shared) -> Result<(), Failure> {
    send_all(broker, queue, shared).await?;
    shared.journal.write(Event::SentAll);
    let inspect = broker.inspect()?;
    while inspect.stats(queue).await?.live() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn send_all(broker: &Broker, queue: &QueueName, shared: &Shared) -> Result<(), Failure> {
    let patient =
        Producer::builder(broker).when_full(WhenFull::Wait { timeout: ROOM_PATIENCE }).build();
    let all: Vec<(u32, &str)> = lines().collect();
    for batch in all.chunks(BATCH) {
        let tasks = batch.iter().map(|(line, text)| task(*line, text));
        let tasks: Vec<NewTask> = tasks.collect::<Result<_, _>>().map_err(Failure::failed)?;
        let mut outcomes = broker.enqueue(queue, &tasks).await?;
        let full = positions_of_full(&outcomes);
        if !full.is_empty() {
            shared.journal.write(Event::Full { tasks: full.len() });
            let again: Vec<NewTask> =
                full.iter().filter_map(|position| tasks.get(*position).cloned()).collect();
            for (position, answer) in full.iter().zip(patient.enqueue(queue, &again).await?) {
                if let Some(outcome) = outcomes.get_mut(*position) {
                    *outcome = answer;
                }
            }
        }
        let mut events = Vec::with_capacity(batch.len());
        for ((line, _), outcome) in batch.iter().zip(outcomes) {
            events.push(Event::Sent { line: *line, deduplicated: outcome?.deduplicated });
        }
        shared.journal.write_all(events);
    }
    Ok(())
}

fn task(line: u32, text: &'static str) -> Result<NewTask, String> {
    let flight = Flight::read(text.as_bytes())?;
    let mut task = NewTask::new("flight.landed", text.as_bytes())
        .header(HEADER_LINE, line.to_string())
        .dedup(format!("line-{line}"), Unique::Window(DEDUP_WINDOW));
    task.ordering_key = flight.aircraft().map(ToOwned::to_owned);
    Ok(task)
}

fn worker(broker: &Broker, shared: &Arc<Shared>) -> Worker {
    let options = WorkerOptions { concurrency: CONCURRENCY, ..WorkerOptions::default() };
    let (handling, observing) = (shared.clone(), shared.clone());
    let handler = move |task: Task, context: Context| {
        let shared = handling.clone();
        async move { work(&shared, &task, &context).await }
    };
    Worker::new(broker)
        .queue(QUEUE)
        .options(options)
        .handle_rest(handler)
        .observe(move |task, event| observe(&observing, task, &event))
}

/// The work: finds out what became of a flight, with the help of a service that fails at times.
async fn work(shared: &Shared, task: &Task, context: &Context) -> Outcome {
    let line = line_of(task);
    let (attempt, deliveries) = (context.attempt(), task.deliveries);
    shared.journal.write(Event::Started { line, attempt, deliveries });
    shared.stale.present(line, &shared.journal).await;
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
async fn hang(shared: Arc<Shared>, consumer: Consumer, run: u32) {
    if run != 1 {
        return;
    }
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
