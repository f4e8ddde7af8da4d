//! The simulated disk as the engine sees it: calls of one process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faults::End;
use super::file::Inode;
use super::machine::{Entry, Kind, Luck, Machine, State, gone};
use crate::disk::{Disk, DiskFile, DiskLock, Zeros};

/// The disk of a machine, for the process with this number.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk {
    pub(super) machine: Machine,
    pub(super) process: u32,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

#[derive(Debug)]
struct SimulatedLock(SimulatedDisk);

impl SimulatedDisk {
    /// A call that is carried out as a whole or not at all.
    fn whole<T>(
        &self,
        kind: Kind,
        what: &str,
        path: &Path,
        run: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut state, luck) = self.machine.call(self.process, kind)?;
        state.note(format_args!("{what} {} {luck:?}", path.display()));
        match luck {
            Luck::Good => run(&mut state),
            Luck::Fails(error) => Err(error),
            Luck::Ends(end) => {
                if state.rng.bool() {
                    let _ = run(&mut state);
                }
                state.end(end);
                Err(gone())
            }
        }
    }

    fn file(&self, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), inode })
    }
}

impl Disk for SimulatedDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.whole(Kind::Change, "make_dir", path, |state| {
            let mut missing: Vec<PathBuf> =
                path.ancestors().filter(|dir| !state.dirs.contains(*dir)).map(Into::into).collect();
            missing.reverse();
            for dir in missing {
                state.dirs.insert(dir.clone());
                state.entries.push(Entry::Dir(dir));
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.whole(Kind::Look, "list", path, |state| {
            let names = state.names.keys().filter(|name| name.parent() == Some(path));
            let names = names.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned()));
            Ok(names.collect())
        })
    }

    fn create(&self, path: &Path, len: u64, _zeros: Zeros) -> io::Result<Arc<dyn DiskFile>> {
        self.machine.let_others(self.process);
        let (mut state, luck) = self.machine.call(self.process, Kind::Grow)?;
        state.note(format_args!("create {} {len} {luck:?}", path.display()));
        let len = if matches!(luck, Luck::Good) { len } else { state.rng.u64(0..=len) };
        let inode = state.inodes.len();
        state.inodes.push(Inode::new(len as usize));
        state.names.insert(path.into(), inode);
        state.entries.push(Entry::File(path.into(), inode));
        match luck {
            Luck::Good => Ok(self.file(inode)),
            Luck::Fails(error) => Err(error),
            Luck::Ends(end) => {
                state.end(end);
                Err(gone())
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.whole(Kind::Look, "open", path, |state| {
            state.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        })?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(Kind::Change, "rename", from, |state| {
            let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.into(), inode);
            state.entries.push(Entry::Renamed(from.into(), to.into(), inode));
            let becomes_segment = to.extension().is_some();
            state.tally.rotations += u64::from(becomes_segment);
            state.tally.cleaned += u64::from(!becomes_segment && !state.opening);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.machine.let_others(self.process);
        self.whole(Kind::Change, "remove", path, |state| {
            let inode = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
            state.entries.push(Entry::Removed(path.into(), inode));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.whole(Kind::SyncDir, "sync_dir", path, |state| {
            if !state.dirs.contains(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if !state.lies() {
                state.tally.syncs += 1;
                state.sync_dir(path);
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path, _holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        let locked = self.whole(Kind::Change, "lock", path, |state| {
            Ok(std::mem::replace(&mut state.locked, true))
        })?;
        let lock: Box<dyn DiskLock> = Box::new(SimulatedLock(self.clone()));
        Ok(if locked { Err("process 1".into()) } else { Ok(lock) })
    }
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.0.machine.lock();
        if state.process == self.0.process {
            state.locked = false;
        }
    }
}

impl SimulatedFile {
    fn with<T>(
        state: &mut State,
        inode: usize,
        run: impl FnOnce(&mut Inode) -> T,
    ) -> io::Result<T> {
        state.inodes.get_mut(inode).map(run).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Notes that the log cannot be trusted, if this is one of its segments.
    fn note_failure(&self, state: &mut State) {
        if !state.opening && state.is_segment(self.inode) {
            state.log_failed = true;
        }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let SimulatedDisk { machine, process } = &self.disk;
        machine.let_others(*process);
        let (mut state, luck) = machine.call(*process, Kind::Look)?;
        state.note(format_args!("read {} {offset} {} {luck:?}", self.inode, into.len()));
        match luck {
            Luck::Good => {}
            Luck::Fails(error) => return Err(error),
            Luck::Ends(end) => {
                state.end(end);
                return Err(gone());
            }
        }
        let place = offset as usize..offset as usize + into.len();
        Self::with(&mut state, self.inode, |inode| match inode.cache.get(place) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        })?
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let SimulatedDisk { machine, process } = &self.disk;
        let (mut state, luck) = machine.call(*process, Kind::Grow)?;
        state.note(format_args!(
            "write {} {offset} {} {:08x} {luck:?}",
            self.inode,
            bytes.len(),
            crc32c::crc32c(bytes)
        ));
        state.tally.writes += 1;
        let all = bytes.len();
        let count = if matches!(luck, Luck::Good) { all } else { state.rng.usize(0..=all) };
        let written = bytes.get(..count).unwrap_or_default();
        Self::with(&mut state, self.inode, |inode| inode.write(offset as usize, written))?;
        match luck {
            Luck::Good => Ok(()),
            Luck::Fails(error) => {
                self.note_failure(&mut state);
                Err(error)
            }
            Luck::Ends(end) => {
                state.end(end);
                Err(gone())
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let SimulatedDisk { machine, process } = &self.disk;
        // INVARIANT: a sync is about what was written before it began, and not about what is
        // written while it runs.
        let count = Self::with(&mut machine.lock(), self.inode, |inode| inode.pending())?;
        machine.let_others(*process);
        let (mut state, luck) = machine.call(*process, Kind::SyncFile)?;
        state.note(format_args!("sync {} {count} {luck:?}", self.inode));
        match luck {
            Luck::Good if state.lies() => Ok(()),
            Luck::Good => {
                state.tally.syncs += 1;
                Self::with(&mut state, self.inode, |inode| inode.sync(count))
            }
            Luck::Fails(error) => {
                state.tally.syncs_failed += 1;
                self.note_failure(&mut state);
                let (block, mut rng) = (state.block, state.rng.fork());
                Self::with(&mut state, self.inode, |i| i.fail_sync(count, block, &mut rng))?;
                Err(error)
            }
            Luck::Ends(end) => {
                if end == End::PowerCut && state.rng.bool() {
                    Self::with(&mut state, self.inode, |inode| inode.sync(count))?;
                }
                state.end(end);
                Err(gone())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        let (mut state, luck) = self.disk.machine.call(self.disk.process, Kind::Look)?;
        match luck {
            Luck::Good => Self::with(&mut state, self.inode, |inode| inode.cache.len() as u64),
            Luck::Fails(error) => Err(error),
            Luck::Ends(end) => {
                state.end(end);
                Err(gone())
            }
        }
    }
}
