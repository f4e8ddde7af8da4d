//! A Celery app on the server: all its tasks are run, tried again where they ask for it, and come back from a
//! worker that is killed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Signal, kill_process_group};

use super::client::{EVERYTHING, ended, reach};
use super::python;
use super::server::{Server, Stood};
use crate::cargo::Counts;
use crate::examples::flights;
use crate::examples::program::Program;
use crate::examples::same;
use crate::examples::server::until;
use crate::workload::Failure;

const REQUIREMENTS: &str = "requirements-celery.txt";
const QUEUE: &str = "celery-flights";
/// Flights that left, and flights that did not, which have to be tried again.
const FLIGHTS: usize = 20;
const LATE: usize = 5;

/// What a case does with the app.
type Run = fn(&App) -> Result<(), Failure>;

/// The app as tests.
pub(super) fn counted() -> Counts {
    let target = python::target("celery");
    if let Err(why) = python::install(&target, REQUIREMENTS) {
        eprintln!("celery is skipped: {why}");
        return Counts { skipped: 1, ..Counts::default() };
    }
    let cases: [(&str, Run); 2] = [
        ("every task is run once, and again where it asks for it", runs_all),
        ("the task of a killed worker is run again", comes_back),
    ];
    cases.into_iter().map(|(name, run)| judge(name, run)).fold(Counts::default(), Counts::plus)
}

fn judge(name: &str, run: Run) -> Counts {
    let done = App::start().and_then(|app| run(&app));
    match &done {
        Ok(()) => println!("test celery: {name} ... ok"),
        Err(error) => println!("test celery: {name} ... FAILED\n    {error}"),
    }
    Counts::one(done.is_ok())
}

/// The app on a server of its own, signing what it asks.
struct App {
    server: Server,
    /// Where tasks tell what they did.
    journal: PathBuf,
}

/// A worker with its children. It is killed when it is dropped.
struct Worker(Program);

impl App {
    fn start() -> Result<Self, Failure> {
        let target = python::target("celery");
        let journal = target.join("journal.txt");
        if journal.exists() {
            fs::remove_file(&journal)?;
        }
        Ok(Self { server: Server::start(&target.join("server"), &Stood::Keys)?, journal })
    }

    fn python(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(python::of(&python::target("celery")));
        command.args(arguments).env("FLIGHTS_JOURNAL", &self.journal);
        reach(&mut command, self.server.url(), EVERYTHING);
        command.current_dir(python::source());
        command
    }

    fn send(&self, arguments: &[&str]) -> Result<(), Failure> {
        let sent = ended(self.python(&[&["send_tasks.py"][..], arguments].concat()))?;
        same(&sent.stderr.join("\n"), &sent.is_success, &true)
    }

    fn worker(&self) -> Result<Worker, Failure> {
        let options = ["--concurrency", "2", "--loglevel", "warning"];
        let mut command =
            self.python(&[&["-m", "celery", "-A", "tasks", "worker"][..], &options].concat());
        command.process_group(0);
        Ok(Worker(Program::run(command)?))
    }

    /// What was told so far, sorted.
    fn told(&self) -> Result<Vec<String>, Failure> {
        if !self.journal.exists() {
            return Ok(Vec::new());
        }
        let mut told: Vec<_> =
            fs::read_to_string(&self.journal)?.lines().map(str::to_owned).collect();
        told.sort();
        Ok(told)
    }

    fn waits_until(&self, what: &str, worker: &mut Worker, lines: usize) -> Result<(), Failure> {
        until(what, || {
            worker.0.must_run()?;
            Ok(self.told()?.len() >= lines)
        })
    }

    /// Waits until everything is settled, and ends the worker.
    fn settled(&self, mut worker: Worker) -> Result<(), Failure> {
        until("the queue is empty", || {
            worker.0.must_run()?;
            let stats = self.server.stats(QUEUE)?;
            Ok(stats.live() + stats.dead + self.server.stats(&format!("{QUEUE}-dead"))?.live() == 0)
        })?;
        kill_process_group(worker.0.pid(), Signal::KILL)?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already where nothing went wrong.
        let _ = kill_process_group(self.0.pid(), Signal::KILL);
    }
}

fn runs_all(app: &App) -> Result<(), Failure> {
    let text = fs::read_to_string(flights::path())?;
    let is_late = |line: &&str| line.contains("\"dep_time\":null");
    let late: Vec<&str> = text.lines().filter(is_late).take(LATE).collect();
    let in_time = text.lines().filter(|line| !line.contains("\":null")).take(FLIGHTS);
    let lines: Vec<&str> = in_time.chain(late.iter().copied()).collect();
    let path = python::target("celery").join("flights.jsonl");
    fs::write(&path, lines.join("\n"))?;
    app.send(&["--flights", path.to_str().ok_or("read a path")?])?;
    let mut expected = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let name = flights::name(line)?;
        let words: &[&str] = if at < FLIGHTS {
            &["departed", "arrived"]
        } else {
            &["departed", "arrived", "retried", "rejected"]
        };
        expected.extend(words.iter().map(|word| format!("{word} {name}")));
    }
    expected.sort();
    let mut worker = app.worker()?;
    app.waits_until("all tasks are run", &mut worker, expected.len())?;
    app.settled(worker)?;
    same("what tasks did", &app.told()?, &expected)
}

fn comes_back(app: &App) -> Result<(), Failure> {
    let clearance = python::target("celery").join("clearance");
    if clearance.exists() {
        fs::remove_file(&clearance)?;
    }
    let path = clearance.to_str().ok_or("read a path")?;
    app.send(&["--visibility-s", "10", "--taxi", "N14228", path])?;
    let mut worker = app.worker()?;
    app.waits_until("it is at work", &mut worker, 1)?;
    drop(worker);
    same("what is left", &app.server.stats(QUEUE)?.live(), &1)?;
    let mut worker = app.worker()?;
    app.waits_until("it is run again", &mut worker, 2)?;
    fs::write(&clearance, "")?;
    app.waits_until("it is done", &mut worker, 3)?;
    app.settled(worker)?;
    same(
        "what tasks did",
        &app.told()?,
        &["taxied N14228", "taxiing N14228", "taxiing N14228"].map(str::to_owned).to_vec(),
    )
}
