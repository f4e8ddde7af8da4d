//! `tidegate work`: runs a program per task.

mod child;
mod environment;
mod verdict;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tidegate::worker::{Event, Metrics};
use tidegate::{
    Broker, Context, Outcome, QueueName, Settled, State, Task, Verdict, Worker, WorkerOptions,
};

use super::{find_or_make, queue_name};
use crate::app::App;
use crate::config::Settings;
use crate::failure::Failure;
use crate::output::cut;
use crate::{progress, units};

use child::Program;

/// Run a program for every task of a queue
///
/// The task's payload is the program's stdin; its attributes are in environment variables:
/// TIDEGATE_TASK_ID, _KIND, _QUEUE, _ATTEMPT, _DELIVERIES, _KEY, _PARTITION, _SEQUENCE, _PRIORITY,
/// _ENQUEUED_AT, _LAST_ERROR, and _HEADER_NAME for every header (in capitals, other characters as
/// `_`). The lease is renewed while the program runs. Its stdout and stderr are passed on; with --json
/// both go to stderr. A queue that is missing is made with the defaults, so it does not matter
/// whether `send` or `work` comes first.
///
/// SIGTERM or Ctrl-C ends it gracefully: nothing more is taken, programs at work may finish for as
/// long as graceful_shutdown_timeout says (30s), then they get SIGTERM, and what is not done goes
/// back to the queue at once. A second signal ends the wait.
#[derive(Args, Debug)]
#[command(after_help = "What the program's end means:
  exit 0                the task is done
  exit 65 (EX_DATAERR)  the task becomes a dead letter; the end of stderr is the reason
  exit 75 (EX_TEMPFAIL) and every other code
                        the task is tried again by the queue's retry policy; the end of
                        stderr is kept as the error
  death by a signal     counts as a crash and is tried again

Examples:
  tidegate work mail -- ./deliver.sh
  tidegate work mail --concurrency 8 --until-empty -- python3 deliver.py
  tidegate work thumbs --lease 5m -- sh -c 'convert - -resize 200 \"$TIDEGATE_TASK_ID.png\"'")]
pub(crate) struct Work {
    /// The queue
    #[arg(value_parser = queue_name)]
    queue: QueueName,
    /// Most programs at once [default: one per processor]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// End when nothing is ready, scheduled or leased any more
    #[arg(long)]
    until_empty: bool,
    /// How long a task is held without renewal [default: the queue's lease]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    lease: Option<Duration>,
    /// The program and its arguments, behind `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) async fn run(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    args: Work,
) -> Result<(), Failure> {
    let Work { queue, concurrency, until_empty, lease, command } = args;
    let program = Arc::new(Program::new(command, app.output.json)?);
    find_or_make(settings, broker, &queue).await?;
    let broken: Broken = Arc::default();
    let options = WorkerOptions {
        concurrency: concurrency.unwrap_or_else(processors),
        lease,
        ..settings.worker()
    };
    let bar = progress::bar(format!("working on {queue}"), None);
    let worker = Worker::new(broker).queue(queue.as_str()).options(options);
    let control = worker.control();
    let handler = {
        let broken = broken.clone();
        move |task: Task, context: Context| {
            let (program, broken, control) = (program.clone(), broken.clone(), control.clone());
            async move {
                match program.work_on(&task, &context).await {
                    Ok(end) => verdict::of(&end, context.is_cancelled()),
                    Err(error) => {
                        keep_first(&broken, error);
                        control.stop();
                        Outcome::release(Duration::ZERO)
                    }
                }
            }
        }
    };
    let observed = bar.clone();
    let worker = worker.handle_rest(handler).observe(move |task, event| {
        observe(&observed, task, &event);
    });
    let started = Instant::now();
    let ran = if until_empty { worker.run_until_empty().await } else { worker.run().await };
    bar.finish_and_clear();
    let metrics = ran?;
    account(app, &queue, metrics, started.elapsed())?;
    match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        None => Ok(()),
        Some(why) => {
            Err(Failure::failed(why).with_help("the task went back to the queue unharmed"))
        }
    }
}

/// Why no program could be started at all; that is no fault of the task.
type Broken = Arc<Mutex<Option<String>>>;

fn keep_first(broken: &Broken, error: String) {
    broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One line on stderr for everything that did not simply succeed.
fn observe(bar: &indicatif::ProgressBar, task: &Task, event: &Event<'_>) {
    let text = match event {
        Event::Settled { verdict: Verdict::Complete, .. } => None,
        Event::Settled { verdict: Verdict::Retry { error, .. }, settled } => {
            let error = error.as_deref().unwrap_or("failed");
            Some(match settled {
                Settled::Done { state: State::Dead } => {
                    format!("dead after its last attempt: {error}")
                }
                _ => format!("attempt {} failed: {error}", task.attempt),
            })
        }
        Event::Settled { verdict: Verdict::DeadLetter { reason }, .. } => {
            Some(format!("dead: {reason}"))
        }
        Event::Settled { verdict: Verdict::Release { .. }, .. } => Some("given back".to_owned()),
        Event::Lost(lost) => Some(format!("its lease was lost: {lost}")),
        Event::Unsettled(error) => Some(format!("failed to {error}")),
        other => Some(format!("{other:?}")),
    };
    bar.inc(u64::from(matches!(event, Event::Settled { .. })));
    if let Some(text) = text {
        bar.suspend(|| eprintln!("{}: {}", task.id, cut(&text, 200)));
    }
}

fn account(
    app: &App,
    queue: &QueueName,
    metrics: Metrics,
    elapsed: Duration,
) -> Result<(), Failure> {
    let Metrics { received, completed, retried, released, dead, lost, .. } = metrics;
    let failed_unacknowledged = metrics.failed_unacknowledged;
    let counts = [
        (completed, "completed"),
        (retried, "to be tried again"),
        (dead, "dead"),
        (released, "given back"),
        (lost, "lost to another worker"),
        (failed_unacknowledged, "failed after they were acknowledged (ack_mode: auto)"),
    ];
    let counts = counts.iter().filter(|(many, what)| *many > 0 || *what == "completed");
    let counts: Vec<String> =
        counts.map(|(many, what)| format!("{} {what}", units::grouped(*many))).collect();
    let text = format!(
        "ran {} of \"{queue}\" in {}: {}",
        units::count(received, "attempt"),
        units::show(elapsed),
        counts.join(", ")
    );
    let json = json!({
        "queue": queue,
        "received": received,
        "completed": completed,
        "retried": retried,
        "released": released,
        "dead": dead,
        "lost": lost,
        "failed_unacknowledged": failed_unacknowledged,
        "elapsed_ms": elapsed.as_millis() as u64,
    });
    app.output.account(&json, text)
}
