//! The end of a run: everything that is there is completed, and what is left is written down.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate_conformance::history::{Outcome, What};
use tidegate_core::{
    Clock, DeadFilter, Holder, ListOptions, ReceiveOptions, State, TaskView, Verdict,
};

use super::book::name;
use super::consumer::Consumer;
use super::scenario::{GRAVES, JUDGED, MOVING, queue};
use super::stage::{Failure, Stage};

/// How long a queue may take to become empty: many leases and delays.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Completes what is left of all queues.
pub(crate) async fn all(stage: Arc<Stage>, client: String) {
    for to in JUDGED {
        if let Err(failure) = one(&stage, to, &client).await {
            return stage.failed(&client, &failure);
        }
    }
    for to in JUDGED {
        if let Err(failure) = write_final(&stage, to, &client).await {
            return stage.failed(&client, &failure);
        }
    }
}

async fn one(stage: &Arc<Stage>, to: &'static str, client: &str) -> Result<(), Failure> {
    let (clock, broker) = (&stage.book.clock, &stage.broker);
    broker.admin()?.pause(&queue(to)?, false).await?;
    stage.book.resuming(to);
    let (holder, rng) = (Holder::Process, Rng::with_seed(0));
    let mut consumer = Consumer::new(stage.clone(), to, client.into(), holder, Arc::default(), rng);
    let receiver = consumer.open().await?;
    let options = ReceiveOptions::up_to(100).per_key(10).waiting(Duration::from_millis(10));
    let until = clock.now().plus(DRAIN_MAX);
    loop {
        let leases = consumer.receive(&receiver, &options).await?;
        let verdicts: Vec<_> = leases
            .iter()
            .map(|lease| (name(lease.task.id), lease.token.clone(), Verdict::Complete))
            .collect();
        consumer.settle(&receiver, &verdicts).await?;
        let stats = broker.inspect()?.stats(&queue(to)?).await?;
        if stats.live() == 0 {
            return Ok(());
        }
        if clock.now() > until {
            let why = format!("{to:?} still holds {stats:?} after {DRAIN_MAX:?} of draining");
            stage.book.violation(why);
            return Ok(());
        }
    }
}

async fn write_final(stage: &Stage, to: &str, client: &str) -> Result<(), Failure> {
    let begun = stage.book.begin(client, Vec::new());
    let inspect = stage.broker.inspect()?;
    let name_of = |view: &TaskView| name(view.task.id);
    let stats = inspect.stats(&queue(to)?).await?;
    let dead = inspect.dead(&queue(to)?, &DeadFilter::default()).await?;
    let dead_count = match to {
        // WHY: nobody receives from the graves and nothing else moves there.
        MOVING => inspect.stats(&queue(GRAVES)?).await?.live(),
        _ => stats.dead,
    };
    let options = ListOptions { state: None, after: None, limit: 100_000 };
    let live = inspect.list(&queue(to)?, &options).await?;
    let last = What::Final {
        queue: to.into(),
        live: live.iter().filter(|view| view.state != State::Dead).map(name_of).collect(),
        dead: dead.iter().map(name_of).collect(),
        live_count: stats.live(),
        dead_count,
    };
    stage.book.end(&begun, vec![(Outcome::Ok, last)]);
    Ok(())
}
