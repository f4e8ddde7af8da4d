//! The machine: its disk's state, who may call it, and when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use fastrand::Rng;

use super::faults::{End, Faults, Tally};
use super::file::{Inode, Survival};
use crate::engine::Engine;

/// A machine with one disk, on which one process after another opens an engine. Clones are the same
/// machine.
#[derive(Clone)]
pub struct Machine(Arc<Shared>);

type Line = Arc<dyn Fn(fmt::Arguments<'_>) + Send + Sync>;
type Meanwhile = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    meanwhile: Mutex<Option<Meanwhile>>,
    engine: Mutex<Weak<Engine>>,
}

/// What is under the lock.
pub(super) struct State {
    pub(super) rng: Rng,
    /// Bytes that are written wholly or not at all.
    pub(super) block: usize,
    pub(super) inodes: Vec<Inode>,
    /// Names as programs see them.
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) dirs: BTreeSet<PathBuf>,
    /// Names as the disk holds them.
    durable_names: BTreeMap<PathBuf, usize>,
    durable_dirs: BTreeSet<PathBuf>,
    /// Changes of names that no sync has carried to the disk, in order.
    pub(super) entries: Vec<Entry>,
    /// The number of the process that may call the disk.
    pub(super) process: u32,
    pub(super) running: bool,
    pub(super) opening: bool,
    pub(super) locked: bool,
    faults: Faults,
    doom: Option<(u64, End)>,
    /// Syncs of files that are left until the process ends in the middle of one.
    doomed_sync: Option<(u64, End)>,
    /// Whether a write or sync of a segment failed since the process had opened the log.
    pub(super) log_failed: bool,
    pub(super) tally: Tally,
    trace: Option<Line>,
}

/// A change of a name.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Dir(PathBuf),
    File(PathBuf, usize),
    Renamed(PathBuf, PathBuf, usize),
    Removed(PathBuf, usize),
}

impl Entry {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> Option<&Path> {
        let (Self::Dir(path)
        | Self::File(path, _)
        | Self::Renamed(_, path, _)
        | Self::Removed(path, _)) = self;
        path.parent()
    }

    fn inode(&self) -> Option<usize> {
        match self {
            Self::Dir(_) => None,
            Self::File(_, inode) | Self::Renamed(_, _, inode) | Self::Removed(_, inode) => {
                Some(*inode)
            }
        }
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Luck {
    /// It is carried out.
    Good,
    /// It is carried out in part, or not, and fails.
    Fails(io::Error),
    /// The machine or the process ends in the middle of it.
    Ends(End),
}

/// What kind of call it is, for the faults that concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Look,
    Change,
    Grow,
    SyncFile,
    SyncDir,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    /// A machine with an empty disk that writes `block` bytes wholly or not at all. All that
    /// happens to it is drawn from `seed`.
    pub fn new(seed: u64, block: usize) -> Self {
        let root = BTreeSet::from([PathBuf::from("/")]);
        let state = State {
            rng: Rng::with_seed(seed),
            block,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            dirs: root.clone(),
            durable_names: BTreeMap::new(),
            durable_dirs: root,
            entries: Vec::new(),
            process: 0,
            running: false,
            opening: false,
            locked: false,
            faults: Faults::default(),
            doom: None,
            doomed_sync: None,
            log_failed: false,
            tally: Tally::default(),
            trace: None,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            meanwhile: Mutex::new(None),
            engine: Mutex::new(Weak::new()),
        }))
    }

    /// What may go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Ends the process in the middle of the call that comes after so many others.
    pub fn doom(&self, after_calls: u64, end: End) {
        let mut state = self.lock();
        state.doom = Some((state.tally.calls + 1 + after_calls, end));
    }

    /// Ends the process in the middle of the sync of a file that comes after so many others.
    pub fn doom_sync(&self, after_syncs: u64, end: End) {
        self.lock().doomed_sync = Some((after_syncs, end));
    }

    /// Ends the process between two calls.
    pub fn end(&self, end: End) {
        self.lock().end(end);
    }

    /// Whether a process runs.
    pub fn is_running(&self) -> bool {
        self.lock().running
    }

    /// Whether a write or sync of the running process's log has failed: it may acknowledge nothing
    /// that began after it.
    pub fn has_log_failed(&self) -> bool {
        self.lock().log_failed
    }

    /// Whether a process runs and all that it wrote to segments is on the disk, without a doubt.
    pub fn is_synced(&self) -> bool {
        let state = self.lock();
        let mut segments = state.names.iter().filter(|(path, _)| is_segment(path));
        state.running
            && !state.log_failed
            && segments.all(|(_, inode)| state.inodes.get(*inode).is_some_and(Inode::is_synced))
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// Tells every call of the disk to `line`, which must not call the machine.
    pub fn trace_to(&self, line: Line) {
        self.lock().trace = Some(line);
    }

    /// Does `meanwhile` at the beginning of calls during which an engine on real threads lets others
    /// go on.
    pub fn meanwhile(&self, meanwhile: Meanwhile) {
        *lock(&self.0.meanwhile) = Some(meanwhile);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// A process begins. Its number is what its calls must carry.
    pub(super) fn boot(&self) -> u32 {
        let mut state = self.lock();
        state.process += 1;
        state.running = true;
        state.opening = true;
        state.log_failed = false;
        if state.rng.bool() {
            state.inodes.iter_mut().for_each(Inode::evict);
        }
        state.process
    }

    /// The process has opened its engine.
    pub(super) fn booted(&self, engine: &Arc<Engine>) {
        self.lock().opening = false;
        *lock(&self.0.engine) = Arc::downgrade(engine);
    }

    /// Lets others go on, if nothing that they need is held.
    pub(super) fn let_others(&self, process: u32) {
        let meanwhile = lock(&self.0.meanwhile).clone();
        let engine = lock(&self.0.engine).upgrade();
        let (Some(meanwhile), Some(engine)) = (meanwhile, engine) else { return };
        let calls = {
            let state = self.lock();
            state.running && !state.opening && state.process == process
        };
        if calls && engine.shell.is_free() {
            meanwhile();
        }
    }

    /// Counts a call and decides what becomes of it.
    pub(super) fn call(
        &self,
        process: u32,
        kind: Kind,
    ) -> io::Result<(MutexGuard<'_, State>, Luck)> {
        let mut state = self.lock();
        if !state.running || state.process != process {
            return Err(gone());
        }
        state.tally.calls += 1;
        let luck = state.luck(kind);
        Ok((state, luck))
    }
}

impl State {
    fn luck(&mut self, kind: Kind) -> Luck {
        if let Some((_, end)) = self.doom.filter(|(call, _)| *call <= self.tally.calls) {
            return Luck::Ends(end);
        }
        if kind == Kind::SyncFile
            && let Some((left, end)) = &mut self.doomed_sync
        {
            if *left == 0 {
                return Luck::Ends(*end);
            }
            *left -= 1;
        }
        let Faults { syncs_failing, syncs_lying: _, errors, full } = self.faults;
        let mut happens = |parts: u32| parts > 0 && self.rng.u32(0..1_000) < parts;
        if kind == Kind::SyncFile {
            if happens(syncs_failing) {
                return Luck::Fails(broken());
            }
            return Luck::Good;
        }
        if happens(errors) {
            self.tally.errors += 1;
            return Luck::Fails(broken());
        }
        if kind == Kind::Grow && happens(full) {
            self.tally.errors += 1;
            return Luck::Fails(io::ErrorKind::StorageFull.into());
        }
        Luck::Good
    }

    /// Whether a sync that would be carried out only says so.
    pub(super) fn lies(&mut self) -> bool {
        let lying = self.faults.syncs_lying;
        let lies = lying > 0 && self.rng.u32(0..1_000) < lying;
        self.tally.syncs_lied += u64::from(lies);
        lies
    }

    pub(super) fn note(&self, line: fmt::Arguments<'_>) {
        if let Some(trace) = &self.trace {
            trace(line);
        }
    }

    /// Whether the file is a segment of the log by its name.
    pub(super) fn is_segment(&self, inode: usize) -> bool {
        self.names.iter().any(|(path, other)| *other == inode && is_segment(path))
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|e| e.dir() == Some(dir));
        self.entries = later;
        now.into_iter().for_each(|entry| self.make_durable(entry));
    }

    fn make_durable(&mut self, entry: Entry) {
        match entry {
            Entry::Dir(path) => drop(self.durable_dirs.insert(path)),
            Entry::File(path, inode) => drop(self.durable_names.insert(path, inode)),
            Entry::Renamed(from, to, inode) => {
                self.durable_names.remove(&from);
                self.durable_names.insert(to, inode);
            }
            Entry::Removed(path, inode) => {
                if self.durable_names.get(&path) == Some(&inode) {
                    self.durable_names.remove(&path);
                }
            }
        }
    }

    /// Ends the process, and with a power cut forgets what was not synced.
    pub(super) fn end(&mut self, end: End) {
        if !self.running {
            return;
        }
        self.note(format_args!("{end:?} of process {}", self.process));
        self.running = false;
        self.locked = false;
        self.doom = None;
        self.doomed_sync = None;
        self.tally.ended_in_open += u64::from(self.opening);
        match end {
            End::Kill => self.tally.kills += 1,
            End::PowerCut => self.power_cut(),
        }
    }

    fn power_cut(&mut self) {
        self.tally.power_cuts += 1;
        let survival = Survival::draw(&mut self.rng);
        let (block, rng) = (self.block, &mut self.rng);
        let lost = self.inodes.iter_mut().map(|inode| inode.power_cut(survival, block, rng));
        self.tally.blocks_lost += lost.sum::<u64>();
        self.forget_entries(survival);
        self.note(format_args!("survival {survival:?}, {} names", self.names.len()));
    }

    /// Leaves what is durable of the names: of each file's changes some of the first ones.
    fn forget_entries(&mut self, survival: Survival) {
        let entries = std::mem::take(&mut self.entries);
        let most = match survival {
            Survival::Nothing => 0,
            Survival::Prefix => self.rng.usize(0..=entries.len()),
            _ => entries.len(),
        };
        let mut stopped: BTreeSet<Option<usize>> = BTreeSet::new();
        for (place, entry) in entries.into_iter().enumerate() {
            let whole = matches!(survival, Survival::Everything | Survival::Prefix);
            let left = place < most && (whole || self.rng.bool());
            // WHY: changes of one file are a chain: no name comes from one that never was.
            if left && !stopped.contains(&entry.inode()) {
                self.make_durable(entry);
            } else {
                stopped.insert(entry.inode());
                self.tally.entries_lost += 1;
            }
        }
        let dirs = &self.durable_dirs;
        let is_there = |dir: &Path| dir.ancestors().all(|above| dirs.contains(above));
        self.durable_names.retain(|path, _| path.parent().is_some_and(is_there));
        self.dirs = dirs.iter().filter(|dir| is_there(dir)).cloned().collect();
        self.durable_dirs = self.dirs.clone();
        self.names = self.durable_names.clone();
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

pub(super) fn gone() -> io::Error {
    io::Error::other("the process has ended")
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
