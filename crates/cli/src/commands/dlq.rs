//! `tidegate dlq`: the dead tasks of a queue, wherever they lie.

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate::{Broker, DeadFilter, QueueName, TaskId};

use super::{listing, queue_name};
use crate::app::App;
use crate::failure::Failure;
use crate::{ask, units};

/// Look after dead tasks: those that failed for good
///
/// QUEUE is always the queue the tasks died in, wherever they are kept now.
#[derive(Args, Debug)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead tasks, oldest death first
    #[command(after_help = "Examples:
  tidegate dlq list mail
  tidegate dlq list mail --reason 'no such user' --limit 20")]
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Show one dead task with its payload and reason
    #[command(after_help = "Example:
  tidegate dlq show mail 018f3a5e-7c1b-7d2e-9f00-1234567890ab")]
    Show {
        /// The queue the task died in
        #[arg(value_parser = queue_name)]
        queue: QueueName,
        /// The task's id
        id: TaskId,
    },
    /// Put dead tasks back at the tail of the queue they died in
    ///
    /// Their attempts start again. They are admitted even where the queue is full.
    #[command(after_help = "Examples:
  tidegate dlq redrive mail
  tidegate dlq redrive mail --reason timeout --limit 100")]
    Redrive {
        #[command(flatten)]
        which: Which,
    },
    /// Drop dead tasks for good
    #[command(after_help = "Example:
  tidegate dlq purge mail --reason 'no such user' --yes")]
    Purge {
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead tasks are meant.
#[derive(Args, Debug)]
struct Which {
    /// The queue the tasks died in
    #[arg(value_parser = queue_name)]
    queue: QueueName,
    /// At most this many, oldest death first
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only those whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Most dead tasks listed unless a limit is given.
const LIST_DEFAULT: usize = 50;

impl Dlq {
    /// Asks before anything is opened: a question must not hold a data directory.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.command {
            DlqCommand::Purge { which, yes } => {
                ask::before(&format!("drop dead tasks of \"{}\" for good", which.queue), *yes)
            }
            _ => Ok(()),
        }
    }
}

pub(crate) async fn run(app: &App, broker: &Broker, args: Dlq) -> Result<(), Failure> {
    match args.command {
        DlqCommand::List { which } => list(app, broker, which).await,
        DlqCommand::Show { queue, id } => show(app, broker, &queue, id).await,
        DlqCommand::Redrive { which } => {
            let (queue, filter) = which.split();
            let moved = broker.admin()?.redrive(&queue, &filter).await?;
            hint_if_none(broker, &queue, moved).await?;
            let text = format!("put {} back into \"{queue}\"", units::count(moved, "dead task"));
            app.output.answer(&json!({ "queue": queue, "redriven": moved }), text)
        }
        DlqCommand::Purge { which, yes: _ } => {
            let (queue, filter) = which.split();
            let dropped = broker.admin()?.purge_dead(&queue, &filter).await?;
            hint_if_none(broker, &queue, dropped).await?;
            let text = format!("dropped {} of \"{queue}\"", units::count(dropped, "dead task"));
            app.output.answer(&json!({ "queue": queue, "purged": dropped }), text)
        }
    }
}

impl Which {
    fn split(self) -> (QueueName, DeadFilter) {
        (self.queue, DeadFilter { limit: self.limit, reason: self.reason })
    }
}

async fn list(app: &App, broker: &Broker, which: Which) -> Result<(), Failure> {
    let (queue, mut filter) = which.split();
    let limit = *filter.limit.get_or_insert(LIST_DEFAULT);
    let dead = broker.inspect()?.dead(&queue, &filter).await?;
    hint_if_none(broker, &queue, dead.len() as u64).await?;
    listing::dead(app.output, &dead)?;
    if dead.len() == limit && !app.output.json {
        eprintln!("the first {limit}; there may be more: --limit says how many to list");
    }
    Ok(())
}

/// The task among the queue's dead, in the queue itself or where its dead are moved to.
async fn show(app: &App, broker: &Broker, queue: &QueueName, id: TaskId) -> Result<(), Failure> {
    let inspect = broker.inspect()?;
    let elsewhere = inspect.spec(queue).await?.dead_letters.queue;
    let mut found = inspect.get(queue, id).await?;
    if let (None, Some(other)) = (&found, &elsewhere) {
        found = inspect.get(other, id).await?;
    }
    let died_here = |view: &tidegate::TaskView| {
        crate::views::dead_letter(view).is_some_and(|dead| dead.source == *queue)
    };
    match found.filter(died_here) {
        Some(view) => listing::one(app.output, &view),
        None => Err(Failure::missing(format!("no task {id} died in \"{queue}\""))
            .with_help(format!("`tidegate dlq list {queue}` shows those that did"))),
    }
}

/// A dead-letter queue has no dead of its own: names the queues whose dead lie in it.
async fn hint_if_none(broker: &Broker, queue: &QueueName, found: u64) -> Result<(), Failure> {
    if found > 0 {
        return Ok(());
    }
    let inspect = broker.inspect()?;
    let mut sources = Vec::new();
    for other in inspect.queues().await? {
        let spec = inspect.spec(&other).await?;
        if spec.dead_letters.queue.as_ref() == Some(queue) {
            sources.push(format!("\"{other}\""));
        }
    }
    if !sources.is_empty() {
        let sources = sources.join(", ");
        eprintln!(
            "hint: \"{queue}\" is where the dead of {sources} are moved to; name the queue they \
             died in"
        );
    }
    Ok(())
}
