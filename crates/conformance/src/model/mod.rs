//! The model test: random sequences of commands against a broker and the memory broker, which is
//! the executable specification, answer for answer.
//!
//! ```no_run
//! # use tidegate_conformance::model::{self, MemorySubject};
//! model::check(|| MemorySubject, 256, None).unwrap_or_else(|mismatch| panic!("{mismatch}"));
//! ```

mod answer;
mod command;
mod side;
mod subject;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tidegate_core::ManualClock;
use tokio::runtime::Runtime;

pub use command::{Change, Command, Decision, Pick, Sent};
pub use subject::{MemorySubject, Subject};

use command::sequences;
use side::Side;

/// Real time for one sequence before it counts as hanging.
const GUARD: Duration = Duration::from_secs(60);

/// A shortest sequence of commands to which a subject answers otherwise than the memory broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The seed that leads here again.
    pub seed: u64,
    /// Every command with the model's answer. The last one is answered otherwise.
    pub steps: Vec<(Command, String)>,
    /// What the subject answered to the last command.
    pub subject: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the subject differs from the model (seed {}):", self.seed)?;
        for (number, (command, answer)) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}. {command:?}", number + 1)?;
            let last = number + 1 == self.steps.len();
            writeln!(f, "{}", if last { differing(answer, &self.subject) } else { lines(answer) })?;
        }
        let expected = self.steps.last().map_or("", |(_, answer)| answer.as_str());
        write!(f, "  but the subject answered\n{}", differing(&self.subject, expected))
    }
}

fn lines(answer: &str) -> String {
    differing(answer, "")
}

/// The lines of an answer that are not the same in the other.
fn differing(answer: &str, other: &str) -> String {
    let mut others = other.lines();
    let lines = answer.lines().filter(|line| others.next() != Some(*line));
    lines.map(|line| format!("       -> {line}")).collect::<Vec<_>>().join("\n")
}

impl std::error::Error for Mismatch {}

/// Compares `cases` random sequences, each on a fresh subject. `seed` repeats an earlier run; with
/// none a new one is drawn and printed. The error is the shortest sequence found that differs.
///
/// Must not be called within an asynchronous runtime.
pub fn check<S: Subject>(
    make: impl Fn() -> S,
    cases: u32,
    seed: Option<u64>,
) -> Result<(), Box<Mismatch>> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("model test: {cases} sequences, seed {seed}");
    let runtime = runtime();
    // WHY: kept here as the runner reports a value and a text, not what led to them.
    let shortest = Mutex::new(None);
    let outcome = runner(cases, seed).run(&sequences(), |commands| {
        match runtime.block_on(compare(&make(), &commands)) {
            None => Ok(()),
            Some((steps, subject)) => {
                let mismatch = Box::new(Mismatch { seed, steps, subject });
                let reason = mismatch.subject.clone();
                *lock(&shortest) = Some(mismatch);
                Err(TestCaseError::fail(reason))
            }
        }
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, commands)) => Err(runtime
            .block_on(compare(&make(), &commands))
            .map(|(steps, subject)| Box::new(Mismatch { seed, steps, subject }))
            .or_else(|| lock(&shortest).take())
            .unwrap_or_else(|| nothing_ran(seed, &reason.to_string()))),
        Err(TestError::Abort(reason)) => Err(nothing_ran(seed, &reason.to_string())),
    }
}

/// Compares one sequence that was made elsewhere, by a fuzzer for instance.
///
/// Must not be called within an asynchronous runtime.
pub fn check_sequence(subject: &impl Subject, commands: &[Command]) -> Result<(), Box<Mismatch>> {
    match runtime().block_on(compare(subject, commands)) {
        None => Ok(()),
        Some((steps, subject)) => Err(Box::new(Mismatch { seed: 0, steps, subject })),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn nothing_ran(seed: u64, reason: &str) -> Box<Mismatch> {
    Box::new(Mismatch { seed, steps: Vec::new(), subject: reason.into() })
}

fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match built {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for the model test: {error}"),
    }
}

fn runner(cases: u32, seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    for (byte, from) in bytes.iter_mut().zip(seed.to_le_bytes().iter().cycle()) {
        *byte = *from;
    }
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

type Difference = (Vec<(Command, String)>, String);

/// Runs both sides. `None` if they agree; else the steps up to the difference, and what the
/// subject answered there.
async fn compare(subject: &impl Subject, commands: &[Command]) -> Option<Difference> {
    let mut steps = Vec::new();
    match tokio::time::timeout(GUARD, run_both(subject, commands, &mut steps)).await {
        Ok(None) => None,
        Ok(Some(answer)) => Some((steps, answer)),
        Err(_) => Some((steps, format!("hung for {GUARD:?}"))),
    }
}

async fn run_both(
    subject: &impl Subject,
    commands: &[Command],
    steps: &mut Vec<(Command, String)>,
) -> Option<String> {
    let (clock, model_clock) = (ManualClock::new(), ManualClock::new());
    let broker = subject.open(clock.clone()).await;
    let model = MemorySubject.open(model_clock.clone()).await;
    let (mut tried, mut model) = (Side::new(broker, clock), Side::new(model, model_clock));
    for command in commands {
        if *command == Command::Restart {
            if let Some(again) = subject.restart().await {
                tried.reopened(again);
                model.give_leases_their_full_length().await;
                steps.push((Command::Restart, "done".into()));
            }
            continue;
        }
        let expected = model.run(command).await;
        steps.push((command.clone(), expected.clone()));
        let answer = tried.run(command).await;
        if answer != expected {
            return Some(answer);
        }
    }
    None
}

/// A strategy for sequences of commands, for tests with a runner of their own.
pub fn strategy() -> impl Strategy<Value = Vec<Command>> {
    sequences()
}
