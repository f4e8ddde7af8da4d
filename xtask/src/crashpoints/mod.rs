//! A kill at every system call that changes the data directory.
//!
//! A script does always the same in a process of its own: it fills segments, has them cleaned,
//! closes the log and opens it again. A first run tells which calls there are; then there is a run
//! for each of them that is killed right before it, and for each write to a segment one that is
//! killed when half of it is there. The opens that follow are killed at each of their own calls too.

mod calls;
mod run;
mod tracer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Args;

use crate::cargo::{Counts, root};
use crate::workload::{Rig, Tally};
pub(crate) use calls::{Call, Kind};
use run::Witness;
use tracer::{Point, Traced};

/// How `crashpoints` is run.
#[derive(Debug, Args)]
pub(crate) struct CrashpointsArgs {
    /// Kills the script only at every n-th call
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Kills the opens that follow every n-th of these kills; 1 for all, 0 for none
    #[arg(long, default_value_t = 10)]
    opens_every: usize,
    /// Kills at the same time; most of a run is waiting
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Where the directories are made [default: in memory where that is possible]; those with a
    /// finding stay
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs without a kill that tell what calls there are.
const REFERENCES: usize = 3;
/// Every so many calls in the tests.
const EVERY_IN_TESTS: usize = 20;
/// Every so many of these kills, in the tests, the opens that follow are killed too.
const OPENS_EVERY_IN_TESTS: usize = 8;

/// Kills, prints what was seen, and fails if anything was wrong.
pub(crate) fn main(args: &CrashpointsArgs) -> ExitCode {
    match all(args) {
        Ok(report) => {
            report.print();
            if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether this process may trace its children.
pub(crate) fn may_trace() -> bool {
    let mut program = std::process::Command::new("head");
    program.args(["-c", "1"]).stdout(std::process::Stdio::null());
    let traced = tracer::trace(program, Path::new("/nowhere"), None);
    traced.inspect_err(|why| eprintln!("{why}")).is_ok_and(|traced| traced.succeeded)
}

/// A fixed selection as tests.
pub(crate) fn counted() -> Counts {
    let (every, opens_every) = (EVERY_IN_TESTS, OPENS_EVERY_IN_TESTS);
    match all(&CrashpointsArgs { every, opens_every, jobs: 8, dir: None }) {
        Ok(report) => {
            report.print();
            let failed = report.tally.unsound_runs() + report.failures.len() as u64;
            Counts { passed: report.tally.runs.saturating_sub(failed), failed, skipped: 0 }
        }
        Err(why) => {
            eprintln!("{why}");
            Counts::one(false)
        }
    }
}

/// A directory in memory, where there is one: a kill does not care what is below the page cache.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.join(format!("tidegate-{name}-{}", std::process::id()))
    } else {
        root().join("target").join(name)
    }
}

fn all(args: &CrashpointsArgs) -> Result<Report, String> {
    let dir = args.dir.clone().unwrap_or_else(|| scratch("crashpoints"));
    let references =
        (0..REFERENCES).map(|_| run::reference(&dir)).collect::<Result<Vec<_>, String>>()?;
    let points = points(&references);
    let chosen: Vec<_> = points.iter().step_by(args.every.max(1)).cloned().collect();
    let opened = |number: usize| args.opens_every > 0 && number.is_multiple_of(args.opens_every);
    let queue: VecDeque<_> =
        chosen.into_iter().enumerate().map(|(number, point)| (point, opened(number))).collect();
    let mut report = Report { points: points.len(), chosen: queue.len(), ..Report::default() };
    report.calls = calls_of(&references);
    let (queue, shared) = (Mutex::new(queue), Mutex::new(report));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| work(&dir, &queue, &shared));
        }
    });
    let report = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    // WHY: only if it is empty; what was found stays.
    let _ = std::fs::remove_dir(&dir);
    Ok(report)
}

fn work(dir: &Path, queue: &Mutex<VecDeque<(Point, bool)>>, shared: &Mutex<Report>) {
    loop {
        let next = lock(queue).pop_front();
        let Some((point, with_opens)) = next else { return };
        let mut witness = Shared(shared);
        let reached = run::one(dir, &point, with_opens, &mut witness);
        let mut report = lock(shared);
        match reached {
            Ok(true) => {}
            Ok(false) => report.missed.push(point),
            Err(why) => {
                eprintln!("{point:?}: {why}");
                report.failures.push(why);
            }
        }
        report.done += 1;
        if report.done.is_multiple_of(100) {
            let Report { done, chosen, tally, .. } = &*report;
            eprintln!("{done} of {chosen} points, {} unsound", tally.unsound_runs());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every call that any of the runs made, and the halves of those that can be torn.
fn points(references: &[Traced]) -> Vec<Point> {
    let mut points = BTreeSet::new();
    for (point, call) in references.iter().flat_map(|reference| &reference.calls) {
        points.insert(point.clone());
        if call.can_be_torn() {
            points.insert(Point { torn: true, ..point.clone() });
        }
    }
    points.into_iter().collect()
}

/// A kind of call: by which thread, which call, on what.
type CallKind = (String, &'static str, Kind);

/// How many calls of each kind there are.
fn calls_of(references: &[Traced]) -> BTreeMap<CallKind, usize> {
    let mut calls: BTreeMap<CallKind, usize> = BTreeMap::new();
    for reference in references {
        let mut one: BTreeMap<CallKind, usize> = BTreeMap::new();
        for (point, call) in &reference.calls {
            *one.entry(kind_of(point, call)).or_default() += 1;
        }
        for (kind, count) in one {
            let most = calls.entry(kind).or_default();
            *most = count.max(*most);
        }
    }
    calls
}

fn kind_of(point: &Point, call: &Call) -> CallKind {
    (point.thread.clone(), call.name, call.kind())
}

/// Kills that were done at calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kills {
    before: usize,
    torn: usize,
    in_opens: usize,
    torn_in_opens: usize,
}

#[derive(Debug, Default)]
struct Report {
    /// Calls of the script and halves of them.
    points: usize,
    chosen: usize,
    done: usize,
    calls: BTreeMap<CallKind, usize>,
    kills: BTreeMap<CallKind, Kills>,
    missed: Vec<Point>,
    failures: Vec<String>,
    tally: Tally,
}

struct Shared<'a>(&'a Mutex<Report>);

impl Witness for Shared<'_> {
    fn killed(&mut self, point: &Point, call: &Call, in_open: bool) {
        let mut report = lock(self.0);
        let kills = report.kills.entry(kind_of(point, call)).or_default();
        let count = match (in_open, point.torn && call.can_be_torn()) {
            (false, false) => &mut kills.before,
            (false, true) => &mut kills.torn,
            (true, false) => &mut kills.in_opens,
            (true, true) => &mut kills.torn_in_opens,
        };
        *count += 1;
    }

    fn judge(&mut self, what: &str, rig: &Rig, worked: Result<(), String>) {
        // WHY: judged before the lock is taken, or all would wait for each.
        let judged = worked.map(|()| rig.judged());
        lock(self.0).tally.add(what, rig, judged);
    }
}

impl Report {
    fn is_sound(&self) -> bool {
        self.tally.is_sound() && self.failures.is_empty()
    }

    fn print(&self) {
        let Self { points, chosen, missed, failures, .. } = self;
        let columns = ["calls", "killed", "torn", "in opens", "torn"];
        print!("{:<38}", "thread, call, file");
        columns.iter().for_each(|column| print!("{column:>10}"));
        println!();
        let kinds: BTreeSet<&CallKind> = self.calls.keys().chain(self.kills.keys()).collect();
        for kind in kinds {
            let (thread, name, file) = kind;
            let calls = self.calls.get(kind).copied().unwrap_or_default();
            let kills = self.kills.get(kind).copied().unwrap_or_default();
            let Kills { before, torn, in_opens, torn_in_opens } = kills;
            let what = format!("{thread}, {name}, {file}");
            println!(
                "{what:<38}{calls:>10}{before:>10}{torn:>10}{in_opens:>10}{torn_in_opens:>10}"
            );
        }
        let opens: usize = self.kills.values().map(|k| k.in_opens + k.torn_in_opens).sum();
        println!(
            "{points} points in the script, {chosen} chosen, {} killed there, {} not reached; {opens} \
             kills of the opens that followed",
            chosen - missed.len() - failures.len().min(chosen - missed.len()),
            missed.len(),
        );
        for point in missed.iter().take(10) {
            println!("  not reached: {} {}", point.thread, point.number);
        }
        print!("{}", self.tally);
        failures.iter().for_each(|why| println!("{why}"));
    }
}
