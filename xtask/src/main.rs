//! Tidegate's own tools. `cargo xtask help` lists them.

mod backlog;
mod bench;
mod cargo;
mod chaos;
mod ci;
mod crashpoints;
mod examples;
mod fulldisk;
mod fuzz;
mod kills;
mod matrix;
mod mutants;
mod needs;
mod powercut;
mod programs;
mod scribe;
mod sdks;
mod served;
mod simulate;
mod sqs;
mod stages;
mod suites;
mod test;
mod tidy;
mod volume;
mod workload;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cargo::Counts;
use suites::Suite;

/// Tests and checks Tidegate
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs every test of the workspace, in stages with a budget each
    ///
    /// Installs what is missing where this user may, else prints the one command that would. What
    /// could not be run is told as skipped, and is a failure with CI=true. The last line sums up all
    /// test runners.
    Test(test::TestArgs),
    /// Does what a change must pass: tests, format, lints, documentation, tidy, tables
    Ci,
    /// Puts one broker to the conformance suite
    Conformance(suites::ConformanceArgs),
    /// Puts the conformance suite to the test: it must catch every fault that is known
    Teeth,
    /// Kills a working process with SIGKILL, again and again, and judges the history
    ///
    /// Every run is a data directory of its own with two to four kills. Prints how often each named
    /// finding was made; fails if one was that no sound broker can show, and keeps its directory.
    Kills(kills::KillsArgs),
    /// Kills `tidegate serve` under load from clients of SQS, and judges the history
    ///
    /// One server over the engine, several side by side over Redis and over PostgreSQL. Clients sign, keep
    /// stale handles and present them. Prints how much was done and how often each named finding was made;
    /// fails if one was that no sound server can show.
    KillsSqs(sqs::kills::KillsSqsArgs),
    /// Lets clients that mean harm loose on `tidegate serve`, many at once
    ///
    /// Bodies at the limit and beyond, deep JSON, lists of nothing, endless heads and chunks, slow ones, and
    /// answers that nobody takes. Prints the most memory that the server ever held; fails if that is 256 MiB,
    /// if an honest client is not served meanwhile, or if a connection is not ended.
    Bombs(sqs::bombs::BombsArgs),
    /// Lets very many receives wait at `tidegate serve`
    ///
    /// Prints what each holds, what all of them cost the processor, and how soon one has a message that comes;
    /// fails beyond 20 KiB each or 1 % of a core. Builds with optimisations first.
    IdlePolls(sqs::idle::IdlePollsArgs),
    /// Kills workers, restarts a server and cuts its connections under load, and judges the history
    ///
    /// The server is started for this alone, and told to sync every change. Worker processes reach it
    /// through a proxy that is cut in the middle of answers.
    Chaos(chaos::ChaosArgs),
    /// Runs the embedded engine on a machine that forgets, from one seed to the next
    ///
    /// Clients, clock, threads and disk are one thread's work and the same for the same seed. Prints
    /// what happened; fails if a promise was broken, and names the seed that shows it.
    Simulate(simulate::SimulateArgs),
    /// Runs the fuzz targets: the reader of frames, the open of a log, sequences of commands, clients of
    /// the service, bytes on a connection, requests that are signed, requests for SQS in both wire forms
    ///
    /// Each is compared with another that is written as plainly as can be. Prints how many inputs
    /// each was given; fails at the first finding and prints it.
    Fuzz(fuzz::FuzzArgs),
    /// Puts known bugs into a copy of the engine, one at a time: each must be found
    ///
    /// Prints which check found each. Takes half an hour or so for all.
    Mutants(mutants::MutantsArgs),
    /// Kills a process at every system call that changes its data, and the opens that follow
    ///
    /// Needs leave to trace its own children, as strace does. Prints how many kills there were at
    /// which calls and how often each named finding was made; fails if any was that no sound broker
    /// can show.
    Crashpoints(crashpoints::CrashpointsArgs),
    /// Damages a small log in every way and looks at what the engine makes of it
    ///
    /// Every bit flipped, every length cut off, zeros, segments missing, replaced and added. Prints
    /// how each kind of damage ended; fails if wrong data was served, something was lost silently,
    /// or anything panicked.
    Damage(suites::DamageArgs),
    /// Changes signed requests for SQS on their way: none may be let in unless it means the same
    ///
    /// Every bit of every request, and every field at random: method, path, query, headers, body, and each
    /// part of the signature. Prints how many were changed, how each was refused, in which harmless
    /// ways those differ that were let in, and what verifying one takes.
    Sigv4(suites::Sigv4Args),
    /// Fills a real file system: sends are refused, all else goes on, space that returns is used
    ///
    /// Needs root, e2fsprogs and xfsprogs.
    Fulldisk(fulldisk::FulldiskArgs),
    /// Cuts the power of a file system under a working process, mounts it again and looks
    ///
    /// Needs root, e2fsprogs and xfsprogs. ext4 and XFS, each cut hard and with its journal flushed.
    /// Prints what the process was doing at how many cuts, and how often each named finding was
    /// made. With --peers: how many acknowledged tasks other brokers lose.
    Powercut(powercut::PowercutArgs),
    /// What a process of `powercut --peers` does
    #[command(hide = true)]
    PowercutSender(powercut::SenderArgs),
    /// Runs the clients in other languages of `examples/` against a server of their own
    ///
    /// Builds them below `target/examples`, with their packages. Each sends and receives, alone and with
    /// the next one, is refused, extends, gives back, and lives through restarts of the server.
    Examples(examples::ExamplesArgs),
    /// Runs what SDKs of AWS are promised, by those SDKs, against servers of their own
    ///
    /// boto3 over AWS JSON and over the Query protocol, the clients of `examples/sqs-*` with their
    /// helpers, sqs-consumer, a Celery app and the AWS CLI, installed below `target/examples`.
    Sdks(sdks::SdksArgs),
    /// Checks the rules of the house: layers, bans, lengths, pages
    Tidy,
    /// Writes the tables of what each broker can do
    Matrix(matrix::MatrixArgs),
    /// Fills an embedded queue: memory for each waiting task, time to open and search, and its pace
    ///
    /// Builds with optimisations first. The figures are this machine's.
    Backlog(backlog::BacklogArgs),
    /// Measures the engine's curves or its peers: `bench engine`, `bench peers`, `bench plot`
    Bench(bench::BenchArgs),
    /// What a process of `backlog` does
    #[command(subcommand, hide = true)]
    BacklogStep(backlog::Step),
    /// What a process does that is going to be killed
    #[command(subcommand, hide = true)]
    WorkloadChild(workload::Child),
}

fn main() -> ExitCode {
    match Xtask::parse().command {
        Command::Test(args) => stages::run(test::stages(&args)),
        Command::Ci => stages::run(ci::stages()),
        Command::Conformance(args) => closed(suites::conformance(&args)),
        Command::Teeth => closed(suites::run(Suite::Teeth, &["--nocapture"])),
        Command::Kills(args) => kills::main(&args),
        Command::KillsSqs(args) => sqs::kills::main(&args),
        Command::Bombs(args) => sqs::bombs::main(&args),
        Command::IdlePolls(args) => sqs::idle::main(&args),
        Command::Chaos(args) => chaos::main(&args),
        Command::Simulate(args) => simulate::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::Mutants(args) => mutants::main(&args),
        Command::Crashpoints(args) => crashpoints::main(&args),
        Command::Damage(args) => closed(suites::damage(&args)),
        Command::Sigv4(args) => closed(suites::sigv4(&args)),
        Command::Fulldisk(args) => fulldisk::main(&args),
        Command::Powercut(args) => powercut::main(&args),
        Command::PowercutSender(args) => powercut::sender(&args),
        Command::Examples(args) => examples::main(&args),
        Command::Sdks(args) => sdks::main(&args),
        Command::Tidy => tidy::main(),
        Command::Matrix(args) => matrix::main(&args),
        Command::Backlog(args) => backlog::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::BacklogStep(step) => backlog::step(&step),
        Command::WorkloadChild(child) => workload::child(&child),
    }
}

/// Sums up and tells whether all passed.
fn closed(counts: Counts) -> ExitCode {
    let Counts { passed, failed, skipped } = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
