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

    /// Its package and its test.
    pub(crate) const fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("tidegate-conformance", "memory"),
            Self::Engine => ("tidegate-engine", "conformance"),
            Self::Log => ("tidegate-conformance", "log"),
            Self::Socket => ("tidegate-remote", "socket"),
            Self::Tcp => ("tidegate-remote", "tcp"),
            Self::Redis => ("tidegate-redis", "conformance"),
            Self::RedisCluster => ("tidegate-redis", "cluster"),
            Self::Postgres => ("tidegate-postgres", "conformance"),
            Self::PgBouncer => ("tidegate-postgres", "pgbouncer"),
            Self::Teeth => ("tidegate-conformance", "teeth"),
            Self::Damage => ("tidegate-engine", "damage"),
            Self::Sigv4 => ("tidegate-server", "sigv4"),
        }
    }
}

/// Runs a suite; `arguments` go to its test program.
pub(crate) fn run(suite: Suite, arguments: &[&str]) -> Counts {
    let (package, test) = suite.target();
    let cargo = ["--package", package, "--test", test, "--"];
    cargo::test(&[&cargo[..], arguments].concat())
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
    let (package, test) = Suite::Damage.target();
    let every = args.every.to_string();
    cargo::test(&["--release", "--package", package, "--test", test, "--", "--every", &every])
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
    let (package, test) = Suite::Sigv4.target();
    let mutations = args.mutations.to_string();
    let arguments = ["--", "--mutations", &mutations, "--cost"];
    cargo::test(&[&["--release", "--package", package, "--test", test], &arguments[..]].concat())
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
