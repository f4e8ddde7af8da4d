//! The processes of a run: those that are killed, and the one that tidies up after them.

use std::time::{Duration, Instant};

use tidegate_conformance::history::{Outcome, What};
use tidegate_core::{
    DeadFilter, Error, ErrorKind, Inspect, ListOptions, ReceiveOptions, TaskView, Verdict,
};
use tokio::task::JoinSet;

use super::Failure;
use super::consumer::Consumer;
use super::producer::Producer;
use super::stage::{ChildArgs, GRAVES, MOVING, QUEUES, Stage, queue};

/// Who sends.
const PRODUCERS: u64 = 3;
/// Who receives, on each queue.
const CONSUMERS: u64 = 2;
/// How long a queue may take to become empty: many leases and delays.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Sends, receives and settles until it is killed. Ends only if something fails.
pub(crate) fn load(args: &ChildArgs) -> Result<(), Failure> {
    on_a_runtime(async {
        let stage = Stage::open(args).await?;
        let mut work = JoinSet::new();
        for number in 0..PRODUCERS {
            work.spawn(Producer::new(stage.clone(), number, args.round, args.seed).run());
        }
        for (place, queue) in QUEUES.into_iter().enumerate() {
            for number in 0..CONSUMERS {
                let seed = args.seed ^ ((place as u64) << 40);
                let consumer = Consumer::new(stage.clone(), queue, number, args.round, seed);
                work.spawn(consumer.run());
            }
        }
        match work.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    })
}

/// Does what [`load`] does beside other processes, each on the one directory, until it is killed. A call
/// whose answer was lost with the process that held the engine stays without an outcome.
pub(crate) fn share(args: &ChildArgs) -> Result<(), Failure> {
    on_a_runtime(async {
        let stage = Stage::attach(args).await?;
        let mut work = JoinSet::new();
        let mut producer = Producer::new(stage.clone(), args.round, args.round, args.seed);
        work.spawn(async move {
            loop {
                if unless_lost(producer.step().await)?.unwrap_or(true) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        for (place, queue) in QUEUES.into_iter().enumerate() {
            let seed = args.seed ^ ((place as u64) << 40);
            let consumer = Consumer::new(stage.clone(), queue, 1, args.round, seed);
            work.spawn(consume(consumer.outliving()));
        }
        match work.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    })
}

async fn consume(mut consumer: Consumer) -> Result<(), Failure> {
    loop {
        let Some(receiver) = unless_lost(consumer.open().await)? else { continue };
        for _ in 0..60 {
            unless_lost(consumer.step(&receiver).await)?;
        }
        unless_lost(consumer.close(&receiver).await)?;
    }
}

/// What came of a call; `None` if its answer was lost.
fn unless_lost<T>(done: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) => match error.downcast_ref::<Error>() {
            Some(lost) if lost.kind() == ErrorKind::Unavailable => Ok(None),
            _ => Err(error),
        },
    }
}

/// Completes everything that is there, writes down what is left, and closes.
pub(crate) fn drain(args: &ChildArgs) -> Result<(), Failure> {
    on_a_runtime(async {
        let stage = Stage::open(args).await?;
        for name in QUEUES {
            drain_queue(&stage, name, args).await?;
        }
        for name in QUEUES {
            write_final(&stage, name).await?;
        }
        Ok(stage.broker.close().await?)
    })
}

fn on_a_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build()?.block_on(work)
}

async fn drain_queue(stage: &Stage, name: &'static str, args: &ChildArgs) -> Result<(), Failure> {
    let mut consumer = Consumer::new(stage.clone(), name, 0, args.round, args.seed);
    let receiver = consumer.open().await?;
    let options = ReceiveOptions::up_to(100).per_key(10).waiting(Duration::from_millis(20));
    let begun = Instant::now();
    loop {
        let leases = consumer.receive(&receiver, &options).await?;
        let verdicts: Vec<_> = leases
            .iter()
            .map(|lease| (lease.task.id.to_string(), lease.token.clone(), Verdict::Complete))
            .collect();
        consumer.settle(&receiver, &verdicts).await?;
        let stats = stage.broker.inspect()?.stats(&queue(name)?).await?;
        if stats.live() == 0 {
            return Ok(());
        }
        if begun.elapsed() > DRAIN_MAX {
            let why = format!("{name:?} still holds {stats:?} after {DRAIN_MAX:?} of draining");
            return Err(why.into());
        }
    }
}

async fn write_final(stage: &Stage, name: &str) -> Result<(), Failure> {
    let begun = stage.journal.begin("drain", Vec::new())?;
    let inspect = stage.broker.inspect()?;
    let name = queue(name)?;
    let stats = inspect.stats(&name).await?;
    let dead = inspect.dead(&name, &DeadFilter::default()).await?;
    let dead_count = match name.as_str() {
        // WHY: nobody receives from the graves and nothing else moves there.
        MOVING => inspect.stats(&queue(GRAVES)?).await?.live(),
        _ => stats.dead,
    };
    let live = all(&**inspect, &name).await?;
    let live = live.iter().filter(|view| view.state != tidegate_core::State::Dead);
    let last = What::Final {
        queue: name.to_string(),
        live: live.map(|view| view.task.id.to_string()).collect(),
        dead: dead.iter().map(|view| view.task.id.to_string()).collect(),
        live_count: stats.live(),
        dead_count,
    };
    Ok(stage.journal.end(&begun, [(Outcome::Ok, last)])?)
}

async fn all(
    inspect: &dyn Inspect,
    name: &tidegate_core::QueueName,
) -> Result<Vec<TaskView>, Failure> {
    let mut views: Vec<TaskView> = Vec::new();
    loop {
        let after = views.last().map(|view| view.task.sequence);
        let options = ListOptions { state: None, after, limit: 500 };
        let page = inspect.list(name, &options).await?;
        if page.is_empty() {
            return Ok(views);
        }
        views.extend(page);
    }
}
