//! Every damage that a small log can take, and what the engine makes of each.
//!
//! `--every N` (default 101) takes every N-th bit and byte; `cargo xtask damage` takes all. It ends
//! with a table of how each kind of damage ended, and fails if wrong data was served, something was
//! lost silently, or anything panicked.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod harm;
mod judge;
mod map;
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use harm::{Harm, KINDS};
use judge::{Class, Judge, Lost, Seen};
use map::Files;
use scene::{Scene, options, queues, scenes};
use tempfile::TempDir;
use tidegate_core::{Broker, Error, ListOptions, ReceiveOptions, SessionOptions, Task, Verdict};
use tokio::runtime::Runtime;

/// Of bits and bytes, every so many, unless told otherwise. Prime, so that all places of a bit in a
/// byte and of a byte in a header have their turn.
const EVERY: usize = 101;
/// Findings that are printed at most.
const SHOWN_MAX: usize = 20;
/// Threads of this test.
const THREADS: usize = 2;

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let every = every();
    let begun = std::panic::take_hook();
    // WHY: one in a thread of the engine's own ends nothing but that thread.
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        begun(info);
    }));
    let dir = directory();
    let scenes = runtime().block_on(scenes(dir.path()));
    let mut failed = 0;
    // WHY: they differ in their last segment alone.
    for (scene, segments) in scenes.iter().zip([usize::MAX, 1]) {
        let tally = try_all(scene, &Harm::all(scene, segments, every));
        tally.print(scene, segments);
        failed += usize::from(!tally.wrong.is_empty());
    }
    let panics = PANICS.load(Ordering::SeqCst);
    println!("wrong data, silent losses: see above; panics: {panics}");
    failed += usize::from(panics > 0);
    let passed = scenes.len() + 1 - failed;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn every() -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--every");
    arguments.nth(1).and_then(|every| every.parse().ok()).unwrap_or(EVERY)
}

/// In memory where there is such a directory: nothing here asks the disk for anything.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[derive(Debug, Default)]
struct Tally {
    /// By kind of harm and class: how often, and how many tasks went with it.
    classes: BTreeMap<(&'static str, Class), (usize, Lost)>,
    wrong: Vec<String>,
}

impl Tally {
    fn print(&self, scene: &Scene, segments: usize) {
        let Scene { name, files, frames, truth } = scene;
        let bytes: usize = files.values().map(Vec::len).sum();
        println!(
            "\na {name} log: {} files of {bytes} bytes in all, {} frames, {} tasks; {}\n",
            files.len(),
            frames.len(),
            truth.live.len(),
            if segments == 1 { "its last segment damaged" } else { "each segment damaged" }
        );
        let classes = [Class::Harmless, Class::Named, Class::Tail, Class::Refused];
        println!("| damage | harmless | named, the rest served | torn tail | refused, named |");
        println!("|---|---|---|---|---|");
        for kind in KINDS {
            print!("| {kind} |");
            for class in classes {
                let (count, lost) = self.classes.get(&(kind, class)).copied().unwrap_or_default();
                match lost {
                    Lost { tasks: 0, .. } => print!(" {count} |"),
                    Lost { tasks, in_sound_frames: 0 } => print!(" {count} ({tasks} tasks) |"),
                    Lost { tasks, in_sound_frames } => {
                        print!(" {count} ({tasks} tasks, {in_sound_frames} in sound frames) |");
                    }
                }
            }
            println!();
        }
        println!("\nwrong: {}", self.wrong.len());
        self.wrong.iter().take(SHOWN_MAX).for_each(|wrong| println!("  {wrong}"));
    }
}

fn try_all(scene: &Scene, harms: &[Harm]) -> Tally {
    let judge = Judge::new(scene);
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut bench = Bench::new(scene);
                while let Some(harm) = harms.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = bench.try_one(harm, &judge);
                    let mut tally = tally.lock().unwrap();
                    match verdict {
                        Ok((class, lost)) => {
                            let entry = tally.classes.entry((harm.kind(), class)).or_default();
                            entry.0 += 1;
                            entry.1.tasks += lost.tasks;
                            entry.1.in_sound_frames += lost.in_sound_frames;
                        }
                        Err(why) => tally.wrong.push(format!("{harm}: {why}")),
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

/// A directory that is made anew for every damage.
struct Bench<'a> {
    scene: &'a Scene,
    dir: TempDir,
    runtime: Runtime,
}

impl<'a> Bench<'a> {
    fn new(scene: &'a Scene) -> Self {
        let bench = Self { scene, dir: directory(), runtime: runtime() };
        fs::create_dir(bench.log()).unwrap();
        bench
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn try_one(&mut self, harm: &Harm, judge: &Judge<'_>) -> judge::Verdict {
        self.lay_out(&self.scene.files, harm);
        let seen = self.runtime.block_on(seen(self.dir.path(), harm.is_opened_twice()));
        judge.judge(harm, &seen)
    }

    fn lay_out(&self, files: &Files, harm: &Harm) {
        for entry in fs::read_dir(self.log()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !files.contains_key(&name) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (name, bytes) in files.iter().filter(|(name, _)| *name != harm.file()) {
            fs::write(self.log().join(name), bytes).unwrap();
        }
        let path = self.log().join(harm.file());
        match harm.apply(files) {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap_or_default(),
        }
    }
}

/// Opens the directory, looks at everything and ends without a close. If `twice`, opens it again
/// and drains it.
async fn seen(dir: &Path, twice: bool) -> Result<Seen, Error> {
    let (broker, found) = tidegate_engine::open_with_report(options(dir)).await?;
    let tasks = listed(&broker).await?;
    drop(broker);
    if !twice {
        return Ok(Seen { found, tasks, again: None });
    }
    let broker = tidegate_engine::open(options(dir)).await?;
    let again = listed(&broker).await?;
    drain(&broker, &again).await?;
    Ok(Seen { found, tasks, again: Some(again) })
}

async fn listed(broker: &Broker) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    for queue in broker.inspect()?.queues().await? {
        let all = ListOptions { state: None, after: None, limit: usize::MAX };
        let views = broker.inspect()?.list(&queue, &all).await?;
        tasks.extend(views.into_iter().map(|view| view.task));
    }
    Ok(tasks)
}

/// Receives and completes all that is ready: it is handed out as it was listed.
async fn drain(broker: &Broker, listed: &[Task]) -> Result<(), Error> {
    let known = broker.inspect()?.queues().await?;
    for queue in queues().into_iter().filter(|queue| known.contains(queue)) {
        let receiver = broker.open(&queue, &SessionOptions::default()).await?;
        let leases = receiver.receive(&ReceiveOptions::up_to(1_000).per_key(1_000)).await?;
        let verdicts: Vec<_> =
            leases.iter().map(|lease| (lease.token.clone(), Verdict::Complete)).collect();
        for lease in &leases {
            let same = |task: &&Task| task.id == lease.task.id;
            let as_listed = listed.iter().find(same).map(|task| &task.payload);
            assert_eq!(as_listed, Some(&lease.task.payload), "handed out as listed");
        }
        receiver.settle(&verdicts).await?;
    }
    Ok(())
}
