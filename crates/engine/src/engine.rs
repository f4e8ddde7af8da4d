//! An open engine: the shell with its threads, from the open to the close.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tidegate_core::{Capabilities, Error, ErrorKind, Operation, Result};

use crate::commit::Commit;
use crate::disk::{Disk, DiskLock};
use crate::log::recovery::{Recovered, recover};
use crate::log::segment::{Segment, SegmentHeader, segment_path, spare_number, spare_path};
use crate::log::spares::Spares;
use crate::log::{Log, Tail};
use crate::logtime::LogTime;
use crate::shell::{Core, Shell};
use crate::state::State;
use crate::token::EPOCH_MAX;
use crate::{Damage, Durability, Found, Options};
use crate::{flusher, janitor, timekeeper};

/// The engine. Dropping the last handle without a close is like a kill: all that was acknowledged
/// is there at the next open.
pub(crate) struct Engine {
    pub(crate) shell: Arc<Shell>,
    pub(crate) capabilities: Capabilities,
    /// What the open found.
    pub(crate) found: Found,
    stop: Arc<AtomicBool>,
    stop_flusher: Arc<AtomicBool>,
    /// The flusher first.
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Opens the engine in a directory and starts its threads. Blocks while it reads the log.
    pub(crate) fn open(options: &Options, disk: &Arc<dyn Disk>) -> Result<Self> {
        let mut log_id = [0; 16];
        fastrand::fill(&mut log_id);
        let engine = Self::open_unattended(options, disk, log_id)?;
        engine.start_threads().map_err(|error| unusable(&options.path, error))?;
        Ok(engine)
    }

    /// Opens the engine without its threads: whoever opens it does their steps. A log that begins
    /// here gets this id.
    pub(crate) fn open_unattended(
        options: &Options,
        disk: &Arc<dyn Disk>,
        log_id: [u8; 16],
    ) -> Result<Self> {
        let log_dir = options.path.join("log");
        let synced = options.durability != Durability::Never;
        make_dirs(disk, &log_dir, synced).map_err(|error| unusable(&options.path, error))?;
        let lock = take_lock(disk, &options.path)?;
        let mut state = State::new();
        let recovered = recover(disk, &log_dir, &mut state)?;
        let found = report(recovered.as_ref());
        let opened = Opened::new(disk, &log_dir, recovered, options.segment_bytes, synced)
            .map_err(|error| unusable(&log_dir, error))?;
        state.finish_replay();
        let time = LogTime::new(options.clock.clone(), state.now());
        let shell = start_log(state, opened, time, options, log_id)?;
        Ok(Self {
            shell: Arc::new(shell),
            capabilities: crate::capabilities(),
            found,
            stop: Arc::default(),
            stop_flusher: Arc::default(),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        })
    }

    fn start_threads(&self) -> io::Result<()> {
        let start = |name: &str, stop: &Arc<AtomicBool>, run: fn(&Arc<Shell>, &AtomicBool)| {
            let (shell, stop) = (self.shell.clone(), stop.clone());
            janitor::spawn(name, move || run(&shell, &stop))
        };
        let threads = [
            start("flusher", &self.stop_flusher, flusher::run)?,
            start("janitor", &self.stop, janitor::run)?,
            start("timekeeper", &self.stop, timekeeper::run)?,
        ];
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(threads);
        Ok(())
    }

    /// Makes all durable, says so in the log, and lets go of the directory.
    pub(crate) fn close(&self) -> Result<()> {
        let closed = self.shell.close();
        self.stop_threads();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        closed
    }

    fn stop_threads(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.shell.janitor.notify(usize::MAX);
        self.shell.sooner.notify(usize::MAX);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // INVARIANT: the flusher ends last, because the janitor may be waiting for it to sync.
        for (left, thread) in threads.into_iter().enumerate().rev() {
            if left == 0 {
                self.stop_flusher.store(true, Ordering::SeqCst);
                self.shell.commit.wake_flusher();
            }
            // WHY: a thread that panicked has said so; the close goes on.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

/// Makes the directories that are missing, and their names durable if the log is.
fn make_dirs(disk: &Arc<dyn Disk>, log_dir: &Path, synced: bool) -> io::Result<()> {
    disk.make_dir(log_dir)?;
    // INVARIANT: nothing is acknowledged in a directory whose name a power cut could take back.
    // Each open sees to it, as the one that made the directory may have ended before it did.
    for dir in log_dir.ancestors().skip(1).filter(|_| synced) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        match disk.sync_dir(dir) {
            // WHY: a directory that this user may not read, or that can't be synced, is not one of
            // those that were made here.
            Err(error) if is_not_ours(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | InvalidInput | Unsupported)
}

fn take_lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Box<dyn DiskLock>> {
    let holder = format!("process {} ({})\n", std::process::id(), program());
    let path = dir.join("LOCK");
    match disk.lock(&path, &holder).map_err(|error| unusable(&path, error))? {
        Ok(lock) => Ok(lock),
        Err(holder) => {
            let holder = if holder.is_empty() { "another process" } else { &*holder };
            let why = format!(
                "{holder} holds this directory; stop it first, or work through it: one process at \
                 a time can use an embedded queue"
            );
            let error = Error::new(ErrorKind::Locked, Operation::Open, why);
            Err(error.about(dir.display().to_string()))
        }
    }
}

fn program() -> String {
    let name = std::env::args_os().next().map(PathBuf::from);
    let name = name.as_deref().and_then(Path::file_name);
    name.map_or_else(|| "unknown".into(), |name| name.to_string_lossy().into_owned())
}

fn unusable(path: &Path, error: io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "this user may not write there; choose another directory"
        }
        io::ErrorKind::StorageFull => "the disk is full; free some space",
        io::ErrorKind::NotADirectory => "it is not a directory; choose another path",
        _ => "the data directory cannot be used",
    };
    Error::new(ErrorKind::Unavailable, Operation::Open, format!("{why}: {error}"))
        .about(path.display().to_string())
        .caused_by(error)
}

/// The files of a log that was read, ready to go on.
struct Opened {
    tail: Option<Tail>,
    spares: Spares,
}

impl Opened {
    fn new(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        recovered: Option<Recovered>,
        segment_bytes: u32,
        synced: bool,
    ) -> io::Result<Self> {
        let mut spares = Spares::new(disk.clone(), dir.to_owned(), segment_bytes, synced);
        let may_keep = recovered.as_ref().is_none_or(are_spares_of_the_past);
        for name in disk.list(dir)? {
            if let Some(number) = spare_number(&name) {
                if !may_keep {
                    disk.remove(&spare_path(dir, number))?;
                    continue;
                }
                let file = disk.open(&spare_path(dir, number))?;
                let size = u32::try_from(file.len()?).unwrap_or(u32::MAX);
                spares.add(number, file, size);
            }
        }
        let Some(recovered) = recovered else { return Ok(Self { tail: None, spares }) };
        // INVARIANT: no file is used again before what says that it may be is on the disk, and
        // nothing is left beyond the end that asks for it.
        erase_ghosts(&recovered)?;
        rewrite_unsynced(&recovered)?;
        for segment in &recovered.unused {
            let (number, path) = spares.next_path();
            disk.rename(&segment_path(dir, segment.id), &path)?;
            spares.add(number, segment.file.clone(), segment.size);
        }
        disk.sync_dir(dir)?;
        let tail = recovered.segments.get(&recovered.end.segment()).cloned();
        let tail = tail.map(|tail| Tail {
            id: recovered.log,
            tail,
            offset: recovered.end.offset(),
            next_lsn: recovered.next_lsn,
            synced_lsn: recovered.next_lsn - 1,
            segments: recovered.segments,
        });
        Ok(Self { tail, spares })
    }
}

/// Whether spares hold no frames but those of segments that the log once had.
///
/// A log that is never synced does not sync the names of its segments either. After a power cut, one
/// that was beyond the end may be called a spare again and still hold its frames. The segment that is
/// to come has the same number, so they would be taken for its own, and for what follows them.
fn are_spares_of_the_past(recovered: &Recovered) -> bool {
    recovered.was_closed || !recovered.relaxed
}

/// Says what was found, to the log output and to whoever asks.
fn report(recovered: Option<&Recovered>) -> Found {
    let Some(recovered) = recovered else { return Found { damage: Vec::new(), was_closed: true } };
    let damage = recovered.damage.iter().map(|damage| Damage {
        segment: damage.at.segment(),
        offset: damage.at.offset(),
        from_frame: damage.from_lsn,
        to_frame: damage.to_lsn,
    });
    let found = Found { damage: damage.collect(), was_closed: recovered.was_closed };
    for Damage { segment, offset, from_frame, to_frame } in &found.damage {
        tracing::error!(
            segment,
            offset,
            from_frame,
            to_frame,
            "a part of the log that was acknowledged is damaged: tasks in it may be lost, and tasks \
             settled in it may come back; all else is served"
        );
    }
    if !found.was_closed {
        tracing::info!(end = ?recovered.end, "the log was not closed; it was read up to its end");
    }
    found
}

/// Overwrites frames that were never acknowledged and lie beyond the end, so that they are not
/// taken for a continuation of what is written from now on.
fn erase_ghosts(recovered: &Recovered) -> io::Result<()> {
    for (at, len) in &recovered.ghosts {
        let unused = || recovered.unused.iter().find(|segment| segment.id == at.segment());
        if let Some(segment) = recovered.segments.get(&at.segment()).or_else(unused) {
            segment.file.write_at(&vec![0; *len as usize], u64::from(at.offset()))?;
            segment.file.sync()?;
        }
    }
    Ok(())
}

/// Writes the frames again that nobody is known to have synced: after a failed sync the page cache
/// can show what the disk does not hold.
fn rewrite_unsynced(recovered: &Recovered) -> io::Result<()> {
    let from = recovered.synced_end;
    for (id, segment) in recovered.segments.range(from.segment()..) {
        let start = if *id == from.segment() { from.offset() } else { 0 };
        let is_last = *id == recovered.end.segment();
        let end = if is_last { recovered.end.offset() } else { segment.size };
        rewrite(segment, start, end)?;
        segment.file.sync()?;
    }
    Ok(())
}

fn rewrite(segment: &Segment, start: u32, end: u32) -> io::Result<()> {
    let mut bytes = vec![0; end.saturating_sub(start) as usize];
    segment.file.read_at(&mut bytes, u64::from(start))?;
    segment.file.write_at(&bytes, u64::from(start))
}

/// Lets the log go on, or begins one, with a new epoch that is synced before anything else.
fn start_log(
    mut state: State,
    opened: Opened,
    time: LogTime,
    options: &Options,
    log_id: [u8; 16],
) -> Result<Shell> {
    let Opened { tail, mut spares } = opened;
    let now = time.now();
    state.advance(now);
    let full = |error: io::Error| unusable(&options.path, error);
    let mut log = match tail {
        Some(tail) => Log::new(tail, spares, options.payload_memory_bytes),
        None => {
            let header = SegmentHeader { log: log_id, id: 1 };
            let first = spares.take_segment(header, 4_096).map_err(full)?;
            Log::begin(log_id, first, spares, options.payload_memory_bytes, &state, now)
        }
    };
    let epoch = state.numbers().epoch + 1;
    if epoch > EPOCH_MAX {
        let why = "this directory was opened a million times, which is as often as its format \
                   allows; drain its queues and start with a new one";
        return Err(Error::new(ErrorKind::Format, Operation::Open, why));
    }
    let (end, lsn) = (log.end(), log.last_lsn());
    log.reserve(64, &state, now).map_err(full)?;
    let relaxed = options.durability == Durability::Never;
    let mut core = Core::new(state, log);
    core.effect(|state, frame| {
        frame.put_opened(epoch, relaxed);
        state.opened(epoch, relaxed);
    });
    let shell = Shell::new(core, Commit::new(options.durability, end, lsn), time);
    shell.commit.sync_for(&shell)?;
    Ok(shell)
}
