//! `kills-sqs`: `kill -9` of the real server under load from clients that speak SQS, and what the history
//! of those clients says.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fastrand::Rng;
use tidegate_conformance::services::postgres::PrivatePostgres;
use tidegate_conformance::services::redis::PrivateRedis;

use super::server::{Guard, Server};
use super::work::{Ground, Hand, QUEUES};
use crate::cargo::{Counts, root};
use crate::programs;
use crate::sdks::client::Client as Sdk;
use crate::workload::{DurabilityArg, Failure, Rig, SEGMENT_BYTES, Tally, now_us};

/// Milliseconds between two kills.
const BETWEEN_MS: std::ops::Range<u64> = 50..1_500;
const PRODUCERS: u64 = 2;
const CONSUMERS: u64 = 3;

/// How `kills-sqs` is run.
#[derive(Debug, Args)]
pub(crate) struct KillsSqsArgs {
    /// What the servers stand on [default: each in turn]
    #[arg(long)]
    over: Option<Over>,
    /// Kills of a server, each with a start after it, over each
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Servers side by side over Redis and PostgreSQL; one of them is killed at a time
    #[arg(long, default_value_t = 2)]
    servers: usize,
    /// Clients ask by this SDK of AWS; several take turns [default: plain requests]
    #[arg(long)]
    sdk: Vec<Sdk>,
    /// Chooses the kills and the work
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the data are; they stay if there is a finding
    #[arg(long, default_value = "target/kills-sqs")]
    dir: PathBuf,
}

/// What servers stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// The embedded engine, under one server
    Engine,
    /// Redis, which syncs every change
    Redis,
    /// PostgreSQL
    Postgres,
}

/// What all runs showed beside their histories.
#[derive(Debug, Default)]
struct Report {
    tally: Tally,
    kills: u32,
    sent: u64,
    stale: u64,
    wrong: Vec<String>,
}

pub(crate) fn main(args: &KillsSqsArgs) -> ExitCode {
    if run_all(args).failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A few kills over each as one test each, and over the engine by all SDKs.
pub(crate) fn counted() -> Counts {
    let dir = root().join("target/kills-sqs");
    let plain = KillsSqsArgs { over: None, kills: 5, servers: 2, sdk: Vec::new(), seed: 1, dir };
    let counts = run_all(&plain);
    let sdk = Sdk::value_variants().to_vec();
    counts.plus(run_all(&KillsSqsArgs { over: Some(Over::Engine), sdk, ..plain }))
}

fn run_all(args: &KillsSqsArgs) -> Counts {
    for sdk in &args.sdk {
        if let Err(why) = sdk.build() {
            eprintln!("kills under clients in {sdk} are skipped: {why}");
            return Counts { skipped: 1, ..Counts::default() };
        }
    }
    let program = match programs::binary(false) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("{why}");
            return Counts::one(false);
        }
    };
    let (mut report, mut counts) = (Report::default(), Counts::default());
    for over in [Over::Engine, Over::Redis, Over::Postgres] {
        if args.over.is_some_and(|only| only != over) {
            continue;
        }
        let before = report.tally.unsound_runs() + report.wrong.len() as u64;
        match one(args, over, &program, &mut report) {
            Ok(true) => {
                let found = report.tally.unsound_runs() + report.wrong.len() as u64;
                counts = counts.plus(Counts::one(found == before));
            }
            Ok(false) => {
                eprintln!("{over:?} is skipped: its server is not here");
                counts = counts.plus(Counts { skipped: 1, ..Counts::default() });
            }
            Err(error) => {
                report.tally.add_broken(&format!("{over:?}"), &error.to_string());
                counts = counts.plus(Counts::one(false));
            }
        }
    }
    let Report { tally, kills, sent, stale, wrong } = report;
    println!("{kills} kills; {sent} messages acknowledged; {stale} stale handles presented");
    println!("what clients saw go wrong: {}", wrong.len());
    wrong.iter().take(5).for_each(|why| println!("  {why}"));
    print!("{tally}");
    counts
}

/// Whether there was what it stands on.
fn one(
    args: &KillsSqsArgs,
    over: Over,
    program: &Path,
    report: &mut Report,
) -> Result<bool, Failure> {
    // Kept until the end: dropping one ends it.
    let (mut redis, mut postgres) = (None, None);
    let broker = match over {
        Over::Engine => None,
        Over::Redis => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            redis = runtime.block_on(PrivateRedis::start())?;
            let Some(redis) = &redis else { return Ok(false) };
            Some(redis.url())
        }
        Over::Postgres => {
            postgres = PrivatePostgres::start()?;
            let Some(postgres) = &postgres else { return Ok(false) };
            Some(postgres.url())
        }
    };
    let name = format!("{over:?}").to_lowercase();
    let dir = args.dir.join(&name);
    let mut rig = Rig::new(&dir, args.seed, DurabilityArg::Always, SEGMENT_BYTES)?;
    let count = if over == Over::Engine { 1 } else { args.servers.max(1) };
    let servers = (0..count).map(|n| {
        Server::start(program, &dir.join(format!("server-{n}")), broker.clone(), Guard::Keys)
    });
    let mut servers = servers.collect::<Result<Vec<_>, _>>()?;
    let ground = Ground::new(servers.iter().map(|server| server.port).collect(), &args.sdk);
    Hand::new(&ground, "setup".into(), args.seed)?.make_queues()?;
    let worked = loaded(args, &ground, &mut servers, &mut rig);
    rig.history.extend(ground.take_events());
    report.kills += args.kills;
    report.sent += ground.sent.load(Ordering::Relaxed);
    report.stale += ground.stale.load(Ordering::Relaxed);
    let mut wrong = ground.wrong.lock().unwrap_or_else(PoisonError::into_inner);
    report.wrong.append(&mut wrong);
    let judged = worked.map(|()| rig.judged()).map_err(|error| error.to_string());
    report.tally.add(&format!("kills over {name} with seed {}", args.seed), &rig, judged);
    drop((redis, postgres));
    Ok(true)
}

/// Kills under load, and lets what is left be taken.
fn loaded(
    args: &KillsSqsArgs,
    ground: &Ground,
    servers: &mut [Server],
    rig: &mut Rig,
) -> Result<(), Failure> {
    let hand = |name: String, number: u64| Hand::new(ground, name, args.seed ^ (number << 20));
    let producers = (0..PRODUCERS).map(|n| hand(format!("producer-{n}"), n));
    let producers = producers.collect::<io::Result<Vec<_>>>()?;
    let mut consumers = Vec::new();
    for (queue, place) in QUEUES.into_iter().zip([10, 20]) {
        for n in 0..CONSUMERS {
            consumers.push((hand(format!("consumer-{n}-of-{queue}"), place + n)?, queue));
        }
    }
    let prover = hand("prover".into(), 99)?;
    thread::scope(|scope| {
        for hand in producers {
            scope.spawn(move || hand.produce());
        }
        for (hand, queue) in consumers {
            scope.spawn(move || hand.consume(queue));
        }
        scope.spawn(move || prover.prove("work"));
        let mut rng = Rng::with_seed(args.seed);
        let killed: Result<(), Failure> = (0..args.kills).try_for_each(|_| {
            thread::sleep(Duration::from_millis(rng.u64(BETWEEN_MS)));
            let which = rng.usize(0..servers.len());
            let Some(server) = servers.get_mut(which) else { return Ok(()) };
            let from_us = now_us();
            server.kill()?;
            server.run()?;
            // The leases go on: they are the broker's.
            rig.changed_hands(from_us, now_us());
            Ok(())
        });
        ground.is_over.store(true, Ordering::Relaxed);
        killed
    })?;
    for (n, queue) in QUEUES.into_iter().enumerate() {
        hand(format!("drain-{queue}"), 200 + n as u64)?.drain(queue)?;
    }
    Ok(())
}
