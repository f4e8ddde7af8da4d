//! The demo: a queue that survives a kill, and an account of it that balances.

mod account;
pub(crate) mod args;
mod audit;
pub(crate) mod child;
mod flaky;
mod flights;
mod journal;
mod order;
mod run;
mod stale;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::{Broker, DeadFilter, QueueName};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress;

use account::Place;
use args::{Child, Demo};
use audit::{Evidence, Remains, audit};
use flights::Expected;
use journal::Reader;
use run::{Ended, Run};

/// The queue that the demo works on.
const QUEUE: &str = "flights";
/// The number of a run in which nobody hangs, because nobody is killed.
const WITHOUT_A_KILL: u32 = 2;
/// The first process is killed when it has completed so many tasks.
const KILL_AFTER: u64 = 1_200;

/// Where the queue of a demo in `dir` is.
fn queue_url(dir: &Path) -> String {
    format!("embedded:{}", dir.join("queue").display())
}

pub(crate) async fn run(app: &App, args: Demo) -> Result<Exit, Failure> {
    let in_memory = is_in_memory(app.broker_flags())?;
    let home = Home::make(&args)?;
    let expected = Expected::read().map_err(Failure::failed)?;
    let dir = home.path().to_owned();
    let play = async {
        if in_memory {
            play_in_memory(&dir, &args, &expected).await
        } else {
            play(&dir, &args, &expected).await
        }
    };
    let played = tokio::select! {
        evidence = play => evidence,
        _ = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Failed)),
    };
    let evidence = played.inspect_err(|_| eprintln!("the demo did not come to its end"))?;
    let account = audit(&expected, &evidence);
    let place = home.leave(args.keep || !account.balances());
    let exit = if account.balances() { Exit::Done } else { Exit::Failed };
    app.output.answer(&account.json(&place), account.text(&place))?;
    Ok(exit)
}

/// Whether the demo is to run in memory. It brings its own queue otherwise.
fn is_in_memory(urls: &[String]) -> Result<bool, Failure> {
    match urls {
        [] => Ok(false),
        [url] if url.split(':').next() == Some("memory") => Ok(true),
        [url, ..] => Err(Failure::usage(format!("the demo does not run on {url:?}")).with_help(
            "it kills the process that holds the queue, and makes one of its own; --dir says \
             where. On `memory:` it runs in one process, without the kill",
        )),
    }
}

/// Plays the demo in this process, on a queue that nothing outlives: so nobody is killed.
async fn play_in_memory(dir: &Path, args: &Demo, expected: &Expected) -> Result<Evidence, Failure> {
    eprintln!("Tidegate demo: {} flights in memory", expected.flights.len());
    let unusable = |error| Failure::failed(format!("{} cannot be used: {error}", dir.display()));
    let broker = tidegate::connect("memory:").await?;
    let started = Instant::now();
    let whole = Child { dir: dir.to_owned(), seed: args.seed, run: WITHOUT_A_KILL };
    child::play(&broker, &whole).await?;
    let elapsed = started.elapsed();
    let remains = remains_of(&broker).await?;
    let entries = Reader::open(dir).and_then(|mut reader| reader.read()).map_err(unusable)?;
    Ok(Evidence { entries, remains, killed: None, elapsed })
}

/// Plays the demo and gathers what there is to know about it.
async fn play(dir: &Path, args: &Demo, expected: &Expected) -> Result<Evidence, Failure> {
    let total = expected.flights.len() as u64;
    eprintln!("Tidegate demo: {total} flights in {}", dir.display());
    let bar = progress::bar("run 1", Some(total));
    let unusable = |error| Failure::failed(format!("{} cannot be used: {error}", dir.display()));
    let mut reader = Reader::open(dir).map_err(unusable)?;
    let started = Instant::now();

    let mut first = Run::start(dir, args.seed, 1)?;
    let ended = first.watch(&mut reader, &bar, Some(KILL_AFTER)).await?;
    let Ended::Killed { pid, completed } = ended else {
        return Err(Failure::failed("the first process ended before it could be killed"));
    };
    reader.forget_unfinished().map_err(unusable)?;
    let killed = started.elapsed();
    bar.suspend(|| eprintln!("  killed process {pid} with SIGKILL after {completed} completions"));
    bar.set_message("run 2");

    let mut second = Run::start(dir, args.seed, 2)?;
    second.continue_after(&first);
    if let Ended::Failed { status } = second.watch(&mut reader, &bar, None).await? {
        return Err(Failure::failed(format!("the second process failed: {status}"))
            .with_help(format!("its stderr is in {}", second.log().display())));
    }
    let elapsed = started.elapsed();
    bar.finish_and_clear();
    let remains = look(dir).await?;
    let entries = first.into_entries().chain(second.into_entries()).collect();
    Ok(Evidence { entries, remains, killed: Some(killed), elapsed })
}

/// Opens the queue, now that nobody else does, and looks at what is left in it.
async fn look(dir: &Path) -> Result<Remains, Failure> {
    let broker = tidegate::connect(&queue_url(dir)).await?;
    let remains = remains_of(&broker).await;
    broker.close().await?;
    remains
}

async fn remains_of(broker: &Broker) -> Result<Remains, Failure> {
    let queue = QueueName::new(QUEUE).map_err(Failure::failed)?;
    let inspect = broker.inspect()?;
    let stats = inspect.stats(&queue).await?;
    let dead = inspect.dead(&queue, &DeadFilter::default()).await?;
    let capacity = inspect.spec(&queue).await?.capacity;
    Ok(Remains { stats, dead, capacity })
}

/// The demo's directory.
enum Home {
    Given(PathBuf),
    Temporary(TempDir),
}

impl Home {
    fn make(args: &Demo) -> Result<Self, Failure> {
        let Some(dir) = &args.dir else {
            let dir = TempDir::with_prefix("tidegate-demo-");
            let dir = dir.map_err(|error| {
                Failure::failed(format!("no temporary directory could be made: {error}"))
            })?;
            return Ok(Self::Temporary(dir));
        };
        let unusable = |error: std::io::Error| {
            Failure::failed(format!("{} cannot be used: {error}", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        if std::fs::read_dir(dir).map_err(unusable)?.next().is_some() {
            return Err(Failure::usage(format!("{} is not empty", dir.display()))
                .with_help("the demo needs a directory of its own; name a new one"));
        }
        Ok(Self::Given(dir.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Removes a temporary directory unless it is to be kept.
    fn leave(self, keep: bool) -> Place {
        match self {
            Self::Given(path) => Place { path, kept: true },
            Self::Temporary(dir) if keep => Place { path: dir.keep(), kept: true },
            Self::Temporary(dir) => Place { path: dir.path().to_owned(), kept: false },
        }
    }
}

/// How often the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
