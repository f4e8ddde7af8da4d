//! `conformance` and `teeth`: the suites by name.

use clap::{Args, ValueEnum};

use crate::cargo::{self, Counts};
use crate::needs::{self, FOR_PGBOUNCER, FOR_REDIS};

/// How `conformance` is run.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// The broker that is put to the suite
    broker: BrokerArg,
    /// Only cases whose names contain this
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BrokerArg {
    /// The reference memory broker
    Memory,
    /// The embedded engine
    Engine,
    /// The reference log, which declares the opposite of almost everything
    Log,
    /// The engine behind the native protocol: over a Unix socket, and over TCP
    Remote,
    /// Redis: each case on a server of its own, and on a cluster of its own
    Redis,
    /// PostgreSQL, started privately, and the same through PgBouncer
    Postgres,
}

/// A test program that is a stage of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Memory,
    Engine,
    Log,
    Socket,
    Tcp,
    Redis,
    RedisCluster,
    Postgres,
    PgBouncer,
    Teeth,
    Damage,
    Sigv4,
}

impl Suite {
    pub(crate) const ALL: [Self; 12] = [
        Self::Memory,
        Self::Engine,
        Self::Log,
        Self::Socket,
        Self::Tcp,
        Self::Redis,
        Self::RedisCluster,
        Self::Postgres,
        Self::PgBouncer,
        Self::Teeth,
        Self::Damage,
        Self::Sigv4,
    ];

    /// The folder of its package, and its test.
    pub(crate) const fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("crates/conformance", "memory"),
            Self::Engine => ("crates/engine", "conformance"),
            Self::Log => ("crates/conformance", "log"),
            Self::Socket => ("crates/remote", "socket"),
            Self::Tcp => ("crates/remote", "tcp"),
            Self::Redis => ("brokers/redis", "conformance"),
            Self::RedisCluster => ("brokers/redis", "cluster"),
            Self::Postgres => ("brokers/postgres", "conformance"),
            Self::PgBouncer => ("brokers/postgres", "pgbouncer"),
            Self::Teeth => ("crates/conformance", "teeth"),
            Self::Damage => ("crates/engine", "damage"),
            Self::Sigv4 => ("crates/server", "sigv4"),
        }
    }
}

/// Builds a suite and runs it; `arguments` go to its test program.
pub(crate) fn run(suite: Suite, arguments: &[&str]) -> Counts {
    run_built(suite, &[], arguments)
}

fn run_built(suite: Suite, how: &[&str], arguments: &[&str]) -> Counts {
    let (folder, test) = suite.target();
    let manifest = format!("{folder}/Cargo.toml");
    let cargo = ["--manifest-path", &manifest, "--test", test, "--"];
    cargo::test(&[how, &cargo, arguments].concat())
}

/// How `damage` is run.
#[derive(Debug, Args)]
pub(crate) struct DamageArgs {
    /// Takes only every n-th bit and byte
    #[arg(long, default_value_t = 1)]
    every: usize,
}

/// Damages a log in every way, with optimisations.
pub(crate) fn damage(args: &DamageArgs) -> Counts {
    run_built(Suite::Damage, &["--release"], &["--every", &args.every.to_string()])
}

/// How `sigv4` is run.
#[derive(Debug, Args)]
pub(crate) struct Sigv4Args {
    /// How often a field is changed at random, beside every bit of every request
    #[arg(long, default_value_t = 1_000_000)]
    mutations: usize,
}

/// Changes signed requests in every way, with optimisations, and measures what verifying one takes.
pub(crate) fn sigv4(args: &Sigv4Args) -> Counts {
    let mutations = args.mutations.to_string();
    run_built(Suite::Sigv4, &["--release"], &["--mutations", &mutations, "--cost"])
}

/// Runs the suite on one broker.
pub(crate) fn conformance(args: &ConformanceArgs) -> Counts {
    let suites: &[Suite] = match args.broker {
        BrokerArg::Memory => &[Suite::Memory],
        BrokerArg::Engine => &[Suite::Engine],
        BrokerArg::Log => &[Suite::Log],
        BrokerArg::Remote => &[Suite::Socket, Suite::Tcp],
        BrokerArg::Redis => &[Suite::Redis, Suite::RedisCluster],
        BrokerArg::Postgres => &[Suite::Postgres, Suite::PgBouncer],
    };
    // WHY: what is still missing then is told by the suite itself, as not configured.
    match args.broker {
        BrokerArg::Redis => drop(needs::provide(FOR_REDIS)),
        BrokerArg::Postgres => drop(needs::provide(FOR_PGBOUNCER)),
        _ => {}
    }
    let filter = args.filter.as_deref();
    let ran = suites.iter().map(|suite| run(*suite, filter.as_slice()));
    ran.fold(Counts::default(), Counts::plus)
}
