//! `tidegate task`: the tasks of a queue.

use clap::{Args, Subcommand, ValueEnum};
use tidegate::{Broker, ListOptions, QueueName, State, TaskId};

use super::{listing, queue_name};
use crate::app::App;
use crate::failure::Failure;

/// Look at the tasks of a queue
#[derive(Args, Debug)]
pub(crate) struct Task {
    #[command(subcommand)]
    command: TaskCommand,
}

#[derive(Debug, Subcommand)]
enum TaskCommand {
    /// List tasks in the order in which they were enqueued
    ///
    /// Nothing is handed out or changed. A page ends after --limit tasks; the next one starts with
    /// --after and the last sequence of this one.
    #[command(after_help = "Examples:
  tidegate task list mail
  tidegate task list mail --state scheduled --limit 20
  tidegate task list mail --after 1000 --json")]
    List {
        /// The queue
        #[arg(value_parser = queue_name)]
        queue: QueueName,
        /// Only tasks in this state
        #[arg(long)]
        state: Option<Wanted>,
        /// Most tasks to list
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Only tasks with a sequence above this
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
    },
    /// Show one task with its payload
    #[command(after_help = "Example:
  tidegate task show mail 018f3a5e-7c1b-7d2e-9f00-1234567890ab")]
    Show {
        /// The queue
        #[arg(value_parser = queue_name)]
        queue: QueueName,
        /// The task's id
        id: TaskId,
    },
}

/// A state that a kept task can be in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    Scheduled,
    Ready,
    Leased,
    Dead,
}

impl Wanted {
    fn state(self) -> State {
        match self {
            Self::Scheduled => State::Scheduled,
            Self::Ready => State::Ready,
            Self::Leased => State::Leased,
            Self::Dead => State::Dead,
        }
    }
}

pub(crate) async fn run(app: &App, broker: &Broker, args: Task) -> Result<(), Failure> {
    let inspect = broker.inspect()?;
    match args.command {
        TaskCommand::List { queue, state, limit, after } => {
            let options = ListOptions { state: state.map(Wanted::state), after, limit };
            listing::tasks(app.output, &inspect.list(&queue, &options).await?)
        }
        TaskCommand::Show { queue, id } => match inspect.get(&queue, id).await? {
            Some(view) => listing::one(app.output, &view),
            None => Err(listing::missing(&queue, id)),
        },
    }
}
