//! The demo: several processes on a queue that survives a kill, and an account of it that balances.

mod account;
pub(crate) mod args;
mod audit;
mod cast;
pub(crate) mod child;
mod flaky;
mod flights;
mod journal;
mod order;
mod producer;
mod stale;
mod worker;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::{Broker, DeadFilter, QueueName};

use crate::app::App;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress;

use account::Place;
use args::{Child, Demo, Role};
use audit::{Evidence, Remains, audit};
use cast::Cast;
use flights::Expected;
use journal::Reader;

/// The queue that the demo works on.
const QUEUE: &str = "flights";
/// The header with a flight's line.
const HEADER_LINE: &str = "line";
/// The process that is killed: a worker, and the first on the directory, so that it holds the engine.
const KILLED: u32 = 1;
/// It is killed when so many tasks are completed.
const KILL_AFTER: u64 = 1_200;
/// And no sooner than its hung consumer holds so many.
const HUNG_LEAST: u64 = 3;
/// How often the end of the work is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    let evidence = match played {
        Ok(evidence) => evidence,
        Err(failure) => {
            // WHY: what its processes said is there.
            let Place { path, .. } = home.leave(true);
            eprintln!("the demo did not come to its end; what is there is in {}", path.display());
            return Err(failure);
        }
    };
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
            "it kills a process that holds the queue, and makes one of its own; --dir says where. On \
             `memory:` it runs in one process, without the kill",
        )),
    }
}

/// Plays the demo in this process, on a queue that nothing outlives: so nobody is killed.
async fn play_in_memory(dir: &Path, args: &Demo, expected: &Expected) -> Result<Evidence, Failure> {
    eprintln!("Tidegate demo: {} flights in memory", expected.flights.len());
    let broker = tidegate::connect("memory:").await?;
    let started = Instant::now();
    let part = |role| Child { role, dir: dir.to_owned(), seed: args.seed, process: KILLED + 1 };
    let worker = part(Role::Worker);
    let journal = child::begin(&broker, &worker).await?;
    let (all_is_done, end) = tokio::sync::oneshot::channel();
    let send = async {
        producer::send_all(&broker, journal.clone()).await?;
        until_all_is_done(&broker).await?;
        // The worker is there: it ends with this.
        let _ = all_is_done.send(());
        Ok(())
    };
    let end = async { drop(end.await) };
    tokio::try_join!(send, worker::work(&broker, &worker, journal.clone(), end))?;
    let elapsed = started.elapsed();
    let remains = remains_of(&broker).await?;
    let entries = Reader::open(dir).and_then(|mut reader| reader.read());
    let entries = entries.map_err(|error| Failure::failed(format!("the journal: {error}")))?;
    Ok(Evidence { entries, remains, killed: None, elapsed })
}

/// Plays the demo and gathers what there is to know about it.
async fn play(dir: &Path, args: &Demo, expected: &Expected) -> Result<Evidence, Failure> {
    let total = expected.flights.len() as u64;
    eprintln!("Tidegate demo: {total} flights in {}", dir.display());
    let bar = progress::bar("flights", Some(total));
    let mut cast = Cast::new(dir, args.seed, bar.clone())?;
    let started = Instant::now();

    let holder = cast.start(Role::Worker)?;
    cast.until(|seen| seen.ready.contains(&holder)).await?;
    cast.start(Role::Producer)?;
    cast.start(Role::Worker)?;
    cast.until(|seen| seen.completed >= KILL_AFTER && seen.hung >= HUNG_LEAST).await?;
    let completed = cast.completed();
    let pid = cast.kill(holder).await?;
    let killed = started.elapsed();
    bar.suspend(|| {
        eprintln!(
            "  killed process {pid} with SIGKILL after {completed} completions: it held the queue"
        );
    });
    cast.start(Role::Worker)?;
    cast.until(|seen| seen.sent_all).await?;

    let broker = tidegate::connect(&queue_url(dir)).await?;
    until_all_is_done(&broker).await?;
    let elapsed = started.elapsed();
    cast.end().await?;
    bar.finish_and_clear();
    let remains = remains_of(&broker).await?;
    broker.close().await?;
    Ok(Evidence { entries: cast.into_entries(), remains, killed: Some(killed), elapsed })
}

/// Returns once nothing is left to do in the queue.
async fn until_all_is_done(broker: &Broker) -> Result<(), Failure> {
    let queue = QueueName::new(QUEUE).map_err(Failure::failed)?;
    while broker.inspect()?.stats(&queue).await?.live() > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
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
