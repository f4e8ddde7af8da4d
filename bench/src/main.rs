//! Tidegate beside its peers, and the engine's curves. `cargo xtask bench` runs it.

mod adapter;
mod curves;
mod durability;
mod life;
mod peer;
mod peers;
mod plot;
mod served;
mod side_by_side;
mod snapshot;
mod sqs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tidegate beside its peers, and the engine's curves
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench", max_term_width = 100)]
struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The full life of a task on other queues, started privately, and on the engine
    ///
    /// All at the same durability, payload and concurrency, round by round in turn, each driven by
    /// its usual Rust client. A peer whose program is not there is named and left out.
    Peers(side_by_side::PeersArgs),
    /// The full life of a task on the embedded engine: clients, batches, durabilities
    ///
    /// Beside a bare log that writes the same records, round by round in turn.
    Engine(curves::CurvesArgs),
    /// An adapter beside the same calls by its bare client, and beside the least that a queue there needs
    ///
    /// All three on one server, round by round in turn, with the same payload and clients.
    Adapter(adapter::AdapterArgs),
    /// PostgreSQL under an old snapshot: the adapter beside a plain table claimed with SKIP LOCKED
    ///
    /// A REPEATABLE READ transaction is kept open while both work in turns; a minute before it, a
    /// minute after it, and every minute in between is a row.
    Snapshot(snapshot::SnapshotArgs),
    /// The SQS server on the engine, beside a server that reads requests and answers the same bytes
    Sqs(sqs::SqsArgs),
    /// Draws what `engine --save` and `cargo xtask backlog --save` have written
    Plot(plot::PlotArgs),
    /// What a process of `peers` serves
    #[command(subcommand, hide = true)]
    Serve(served::Served),
}

#[tokio::main]
async fn main() -> ExitCode {
    tidegate_cli::memory::use_small_pages();
    let Bench { command } = Bench::parse();
    let done = match command {
        Command::Peers(args) => side_by_side::run(&args).await,
        Command::Engine(args) => curves::run(&args).await,
        Command::Adapter(args) => adapter::run(&args).await,
        Command::Snapshot(args) => snapshot::run(&args).await,
        Command::Sqs(args) => sqs::run(&args).await.map_err(Into::into),
        Command::Plot(args) => plot::run(&args),
        Command::Serve(served) => served::serve(served).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            let mut next = why.source();
            while let Some(cause) = next {
                eprintln!("because: {cause}");
                next = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
