//! `tidegate queue`: making queues and looking after them.

mod create;
mod show;

use clap::{Args, Subcommand};
use serde_json::json;
use tidegate::{Broker, QueueName};

use super::queue_name;
use crate::app::{App, Fresh};
use crate::config::Settings;
use crate::failure::Failure;
use crate::{ask, units};

pub(crate) use show::summary;

/// Make queues and look after them
#[derive(Args, Debug)]
pub(crate) struct Queue {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    Create(create::Create),
    /// List all queues and how much is in them
    #[command(after_help = "Examples:
  tidegate queue list
  tidegate queue list --json | jq '.[] | select(.stats.dead > 0) | .name'")]
    List,
    /// Show one queue: what was set and how much is in it
    #[command(after_help = "Example:
  tidegate queue show mail")]
    Show(Named),
    /// Hand nothing out any more; sends and work under way go on
    #[command(after_help = "Example:
  tidegate queue pause mail")]
    Pause(Named),
    /// Hand tasks out again
    #[command(after_help = "Example:
  tidegate queue resume mail")]
    Resume(Named),
    /// Drop every ready, scheduled and leased task; dead ones stay
    #[command(after_help = "Example:
  tidegate queue purge mail --yes")]
    Purge(Destroyed),
    /// Delete the queue with all that is in it, dead tasks included
    #[command(after_help = "Example:
  tidegate queue delete mail --yes")]
    Delete(Destroyed),
}

#[derive(Args, Debug)]
struct Named {
    /// The queue
    #[arg(value_parser = queue_name)]
    queue: QueueName,
}

#[derive(Args, Debug)]
struct Destroyed {
    /// The queue
    #[arg(value_parser = queue_name)]
    queue: QueueName,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
}

impl Queue {
    /// Only `create` makes a data directory that is missing.
    pub(crate) fn fresh(&self) -> Fresh {
        match self.command {
            QueueCommand::Create(_) => Fresh::Make,
            _ => Fresh::Refuse,
        }
    }

    /// Asks before anything is opened: a question must not hold a data directory.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.command {
            QueueCommand::Purge(Destroyed { queue, yes }) => {
                ask::before(&format!("drop every task of \"{queue}\" that is not dead"), *yes)
            }
            QueueCommand::Delete(Destroyed { queue, yes }) => {
                ask::before(&format!("delete \"{queue}\" with all that is in it"), *yes)
            }
            _ => Ok(()),
        }
    }
}

pub(crate) async fn run(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    args: Queue,
) -> Result<(), Failure> {
    match args.command {
        QueueCommand::Create(args) => create::run(app, settings, broker, args).await,
        QueueCommand::List => show::list(app, broker).await,
        QueueCommand::Show(Named { queue }) => show::one(app, broker, &queue).await,
        QueueCommand::Pause(Named { queue }) => {
            broker.admin()?.pause(&queue, true).await?;
            let text =
                format!("\"{queue}\" hands nothing out until `tidegate queue resume {queue}`");
            app.output.answer(&json!({ "queue": queue, "paused": true }), text)
        }
        QueueCommand::Resume(Named { queue }) => {
            broker.admin()?.pause(&queue, false).await?;
            let text = format!("\"{queue}\" hands tasks out");
            app.output.answer(&json!({ "queue": queue, "paused": false }), text)
        }
        QueueCommand::Purge(Destroyed { queue, yes: _ }) => {
            let dropped = broker.admin()?.purge(&queue).await?;
            let text = format!("dropped {} of \"{queue}\"", units::count(dropped, "task"));
            app.output.answer(&json!({ "queue": queue, "purged": dropped }), text)
        }
        QueueCommand::Delete(Destroyed { queue, yes: _ }) => {
            broker.admin()?.delete(&queue).await?;
            app.output
                .answer(&json!({ "queue": queue, "deleted": true }), format!("deleted \"{queue}\""))
        }
    }
}
