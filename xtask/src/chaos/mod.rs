//! Workers that are killed, a server that is restarted, and connections that are cut, all under load; and
//! what the history says then.

mod proxy;
mod run;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cargo::{Counts, root};
use crate::needs;
use crate::workload::{DurabilityArg, Rig, SEGMENT_BYTES, Tally};

use server::{Server, ServerArg};

/// How `chaos` is run.
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// The server
    server: ServerArg,
    /// Worker processes that are killed
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Times that the server is killed and started again
    #[arg(long, default_value_t = 20)]
    restarts: u32,
    /// Times that all connections are cut in the middle of an answer
    #[arg(long, default_value_t = 20)]
    cuts: u32,
    /// Worker processes at a time
    #[arg(long, default_value_t = 3)]
    processes: usize,
    /// When Redis syncs what it has written; with anything but `always`, what its kills lose is counted
    #[arg(long, default_value = "always", value_parser = ["always", "everysec", "no"])]
    appendfsync: String,
    /// Chooses the order and the work
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the data are; they stay if there is a finding
    #[arg(long, default_value = "target/chaos")]
    dir: PathBuf,
}

/// Runs, prints what was seen, and fails if anything was wrong.
pub(crate) fn main(args: &ChaosArgs) -> ExitCode {
    let tally = judged(args);
    print!("{} kills, {} restarts, {} cuts; {tally}", args.kills, args.restarts, args.cuts);
    if tally.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A short run on Redis as one test.
pub(crate) fn redis() -> Counts {
    counted(ServerArg::Redis)
}

/// A short run on PostgreSQL as one test.
pub(crate) fn postgres() -> Counts {
    counted(ServerArg::Postgres)
}

fn counted(server: ServerArg) -> Counts {
    let args = ChaosArgs {
        server,
        kills: 5,
        restarts: 3,
        cuts: 5,
        processes: 3,
        appendfsync: "always".into(),
        seed: 1,
        dir: root().join("target/chaos"),
    };
    Counts::one(main(&args) == ExitCode::SUCCESS)
}

fn judged(args: &ChaosArgs) -> Tally {
    let mut tally = Tally::default();
    if !needs::provide(args.server.needs()).is_empty() {
        tally.add_broken("chaos", "there is no such server on this machine");
        return tally;
    }
    let what = format!("chaos of {} with seed {}", args.server.as_str(), args.seed);
    let dir = args.dir.join(args.server.as_str());
    let rig = Rig::new(&dir, args.seed, DurabilityArg::Always, SEGMENT_BYTES);
    let done = rig.and_then(|rig| {
        let server = Server::start(args.server, &args.appendfsync, &dir.join("server"))?;
        run::run(rig, server, args)
    });
    match done {
        Ok((rig, worked)) => tally.add(&what, &rig, worked.map(|()| rig.judged())),
        Err(why) => tally.add_broken(&what, &why),
    }
    tally
}
