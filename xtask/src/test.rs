//! `test`: every test of the workspace, in stages.

use std::cell::OnceCell;
use std::rc::Rc;

use clap::Args;

use crate::cargo::{self, Counts};
use crate::needs::{self, FOR_FUZZING, FOR_PGBOUNCER, FOR_REDIS, FOR_TESTS};
use crate::programs::{self, Program, Programs};
use crate::stages::Stage;
use crate::suites::Suite;

/// How `test` is run.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Leaves out what takes minutes: the suite's own test, the kills, the simulation, the crash points,
    /// the demo, the examples in other languages, and what needs root: full disks and power cuts
    #[arg(long)]
    quick: bool,
}

/// Seconds of each fuzz target in the tests. `cargo xtask fuzz` does more.
const FUZZ_SECONDS: u64 = 10;
/// Runs of `kills` in the tests. `cargo xtask kills` does more.
const KILL_RUNS: u64 = 24;
/// Of those, runs with several processes on one directory.
const SHARED_KILL_RUNS: u64 = 10;

/// Seeds of `simulate` in the tests. `cargo xtask simulate` does more.
const SIMULATED_SEEDS: u64 = 10_000;

/// The test programs, once they are built.
type Built = Rc<OnceCell<Programs>>;

/// The stages of `test`.
pub(crate) fn stages(args: &TestArgs) -> Vec<Stage> {
    if !needs::provide(FOR_TESTS).is_empty() {
        return vec![Stage::skipped("tests")];
    }
    // WHY: without them the tests of the adapters are passed over, visibly, and fail where CI requires them.
    needs::provide(FOR_REDIS);
    needs::provide(FOR_PGBOUNCER);
    let built: Built = Rc::default();
    let suite = |name, budget_minutes, suite: Suite| {
        let target = suite.target();
        run(&built, name, budget_minutes, move |program| program.is(target))
    };
    let mut stages = vec![
        build(&built),
        run(&built, "unit tests", 1.0, |program| !program.is_integration),
        run(&built, "integration tests", 8.0, |program| {
            program.is_integration && !Suite::ALL.iter().any(|suite| program.is(suite.target()))
        }),
        Stage::new("documentation tests", 4.0, || cargo::test(&["--workspace", "--doc"])),
        suite("conformance: memory", 1.0, Suite::Memory),
        suite("conformance: engine", 2.0, Suite::Engine),
        suite("conformance: log", 1.0, Suite::Log),
        suite("conformance: socket", 1.0, Suite::Socket),
        suite("conformance: tcp", 1.0, Suite::Tcp),
        suite("conformance: redis", 2.0, Suite::Redis),
        suite("conformance: redis cluster", 2.0, Suite::RedisCluster),
        suite("conformance: postgres", 2.0, Suite::Postgres),
        suite("conformance: pgbouncer", 2.0, Suite::PgBouncer),
        suite("damage", 2.0, Suite::Damage),
        suite("sigv4", 2.0, Suite::Sigv4),
    ];
    if !args.quick {
        stages.extend([
            suite("conformance: teeth", 6.0, Suite::Teeth),
            Stage::new("kills", 4.0, || crate::kills::counted(KILL_RUNS, 1)),
            Stage::new("kills, shared", 2.0, || crate::kills::counted(SHARED_KILL_RUNS, 4)),
            Stage::new("kills, sqs", 2.0, crate::sqs::kills::counted),
            Stage::new("bombs", 5.0, crate::sqs::bombs::counted),
            Stage::new("chaos: redis", 2.0, crate::chaos::redis),
            Stage::new("chaos: postgres", 2.0, crate::chaos::postgres),
            if crate::crashpoints::may_trace() {
                Stage::new("crash points", 2.0, crate::crashpoints::counted)
            } else {
                Stage::skipped("crash points")
            },
            Stage::new("simulation", 5.0, simulation),
            fuzz(),
            Stage::new("demo", 3.0, demo),
            Stage::new("examples", 3.0, crate::examples::counted),
            Stage::new("sdks", 4.0, crate::sdks::counted),
        ]);
        match crate::volume::missing() {
            None => stages.extend([
                Stage::new("full disk", 1.0, crate::fulldisk::counted),
                Stage::new("power cuts", 2.0, crate::powercut::counted),
            ]),
            // WHY: not counted as skipped, which would fail a build server that may not mount.
            Some(why) => eprintln!("no full disks and no power cuts are in this run: {why}"),
        }
    }
    stages
}

fn fuzz() -> Stage {
    if needs::provide(FOR_FUZZING).is_empty() {
        Stage::new("fuzz", 6.0, || {
            crate::fuzz::counted(FUZZ_SECONDS, None, &["--codegen-units", "16"])
        })
    } else {
        Stage::skipped("fuzz")
    }
}

/// Builds all test programs, into `built`.
fn build(built: &Built) -> Stage {
    let built = built.clone();
    Stage::new("build of all tests", 8.0, move || match Programs::build() {
        Ok(programs) => Counts::one(built.set(programs).is_ok()),
        Err(why) => {
            eprintln!("{why}");
            Counts::one(false)
        }
    })
}

/// Runs those of the programs in `built` that are wanted.
fn run(
    built: &Built,
    name: &'static str,
    budget_minutes: f64,
    wanted: impl Fn(&Program) -> bool + 'static,
) -> Stage {
    let built = built.clone();
    Stage::new(name, budget_minutes, move || match built.get() {
        Some(programs) => programs.run(wanted),
        None => Counts::one(false),
    })
}

/// The simulation, built with optimisations first: without them it takes ten times as long.
fn simulation() -> Counts {
    let seeds = SIMULATED_SEEDS.to_string();
    let arguments = ["run", "--profile", "soon", "--quiet", "--package", "xtask", "--", "simulate"];
    let arguments = [&arguments[..], &["--seeds", &seeds]].concat();
    Counts::one(cargo::succeeds(&cargo::cargo(), &arguments, &[]))
}

/// The demo from end to end, on the binary itself.
fn demo() -> Counts {
    let program = match programs::binary(false) {
        Ok(program) => program,
        Err(why) => {
            eprintln!("{why}");
            return Counts::one(false);
        }
    };
    Counts::one(cargo::succeeds(&program.to_string_lossy(), &["demo"], &[]))
}
