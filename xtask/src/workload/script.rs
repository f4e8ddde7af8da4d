//! Work that is the same every time, so that each of its system calls can be found again: one
//! client after the other on the main thread, with pauses in which the engine's own threads finish.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use tidegate_conformance::history::{Outcome, What};

use super::Failure;
use super::consumer::Consumer;
use super::journal::Journal;
use super::producer::Producer;
use super::stage::{ChildArgs, QUEUES, Stage};

/// Steps before the log is closed, and after it was opened again.
const STEPS: [u64; 2] = [48, 16];
/// Steps between two pauses.
const STEPS_BETWEEN_PAUSES: u64 = 8;
/// Longer than the flusher takes to sync leases and to mark a quiet log (10 ms each).
const PAUSE: Duration = Duration::from_millis(40);
/// It is stuck if it takes this long.
const SCRIPT_MAX: Duration = Duration::from_secs(60);

/// Works, closes, opens again, works and closes. Begins when a byte can be read from its input: the
/// parent has by then seen to it that it can stop it anywhere.
pub(crate) fn run(args: &ChildArgs) -> Result<(), Failure> {
    wait_for_parent()?;
    on_the_main_thread(async {
        let journal = Arc::new(Journal::create(&args.journal)?);
        for (part, steps) in STEPS.into_iter().enumerate() {
            let stage = Stage::open_with(args, journal.clone()).await?;
            work(&stage, args, part as u64, steps).await?;
            let begun = journal.begin("script", vec![RESTARTED])?;
            stage.broker.close().await?;
            journal.end(&begun, [(Outcome::Ok, RESTARTED)])?;
        }
        Ok(())
    })
}

/// Opens the directory, lets the engine's threads prepare, and ends without a close.
pub(crate) fn open(args: &ChildArgs) -> Result<(), Failure> {
    wait_for_parent()?;
    on_the_main_thread(async {
        let _stage = Stage::open(args).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(())
    })
}

const RESTARTED: What = What::Restarted { leases_over: true };

fn wait_for_parent() -> Result<(), Failure> {
    Ok(std::io::stdin().read_exact(&mut [0])?)
}

/// WHY: on a runtime with several threads the engine syncs on the thread of the caller who is
/// alone; this one is the main thread.
fn on_the_main_thread(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(SCRIPT_MAX, work).await? })
}

async fn work(stage: &Stage, args: &ChildArgs, part: u64, steps: u64) -> Result<(), Failure> {
    let mut producer = Producer::new(stage.clone(), part, args.round, args.seed);
    let mut consumers = Vec::new();
    for (place, queue) in QUEUES.into_iter().enumerate() {
        let number = part * QUEUES.len() as u64 + place as u64;
        let consumer = Consumer::new(stage.clone(), queue, number, args.round, args.seed);
        let receiver = consumer.open().await?;
        consumers.push((consumer, receiver));
    }
    for step in 1..=steps {
        producer.step().await?;
        for (consumer, receiver) in &mut consumers {
            consumer.step(receiver).await?;
        }
        if step % STEPS_BETWEEN_PAUSES == 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    for (consumer, receiver) in &mut consumers {
        consumer.close(receiver).await?;
    }
    Ok(())
}
