//! The thread that keeps spare segments at hand and cleans the oldest ones.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use event_listener::Listener;
use futures_lite::future::block_on;
use tidegate_core::{Operation, Result};

use crate::Durability;
use crate::log::clean::Cleaning;
use crate::log::segment::{Segment, segment_path};
use crate::log::spares::{SEGMENT_BYTES_MAX, make_file};
use crate::position::Position;
use crate::shell::{Core, Shell};
use crate::state::Candidate;

/// How often it looks without being told to.
const LOOK: Duration = Duration::from_secs(1);
/// Most bytes that are copied under one hold of the lock.
const COPY_BYTES: usize = 64 << 10;
/// The log may hold this many bytes, or this many segments, beside twice what is live.
const SLACK_BYTES: u64 = 64 << 20;
/// The smaller of the two counts.
const SLACK_SEGMENTS: u64 = 4;
/// Segments beyond the reserve that are kept ready.
const READY_SEGMENTS: u64 = 2;
/// Bytes that may be copied though nothing is appended, each time it looks.
const IDLE_COPY_BYTES: u64 = 4 << 20;

/// Works until `stop` is set.
pub(crate) fn run(shell: &Arc<Shell>, stop: &AtomicBool) {
    let mut janitor = Janitor::new(shell, stop);
    loop {
        let told = shell.janitor.listen();
        if stop.load(Ordering::SeqCst) {
            return;
        }
        block_on(janitor.step());
        told.wait_timeout(LOOK);
    }
}

/// What the janitor knows from one look to the next.
pub(crate) struct Janitor<'a> {
    shell: &'a Shell,
    stop: &'a AtomicBool,
    /// Segments that are out of the log, but perhaps still read.
    retired: Vec<Arc<Segment>>,
    cleaning: Option<Cleaning>,
    /// Bytes that were copied, to be paced by what is appended.
    copied: u64,
}

impl<'a> Janitor<'a> {
    pub(crate) fn new(shell: &'a Shell, stop: &'a AtomicBool) -> Self {
        Self { shell, stop, retired: Vec::new(), cleaning: None, copied: 0 }
    }

    /// Looks once, and does all there is to do.
    pub(crate) async fn step(&mut self) {
        if self.shell.commit.poison.check(Operation::Open).is_ok()
            && let Err(error) = self.work().await
        {
            tracing::warn!(%error, "cleaning the log failed; it is tried again");
        }
    }

    /// Cleans before it makes new files, so that a log that is used evenly only uses its own again.
    async fn work(&mut self) -> Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            self.recycle();
            let cleaned = self.clean_some().await?;
            if !self.fill_one_spare() && !cleaned {
                break;
            }
        }
        self.drop_extra_spares();
        Ok(())
    }

    /// Makes a spare if the reserve and two more are not there. Whether it did.
    fn fill_one_spare(&self) -> bool {
        let Some((number, path, bytes)) = self.wanted_spare() else { return false };
        let (disk, synced) = {
            let core = self.shell.lock();
            (core.log.spares.disk().clone(), core.log.spares.is_synced())
        };
        let made = make_file(&*disk, &path, u64::from(bytes), synced);
        let mut core = self.shell.lock();
        core.log.spares.disk_full = made.is_err();
        match made {
            Ok(file) => {
                core.log.spares.add(number, file, bytes);
                true
            }
            Err(error) => {
                let _ = disk.remove(&path);
                tracing::warn!(%error, "there is no room for another segment of the log");
                false
            }
        }
    }

    fn wanted_spare(&self) -> Option<(u64, std::path::PathBuf, u32)> {
        let mut core = self.shell.lock();
        grow_segments(&mut core);
        let bytes = core.log.spares.segment_bytes();
        let wanted = core.reserve_bytes() + READY_SEGMENTS * u64::from(bytes);
        if core.log.spares.bytes() >= wanted {
            core.log.spares.disk_full = false;
            return None;
        }
        let (number, path) = core.log.spares.next_path();
        Some((number, path, bytes))
    }

    fn drop_extra_spares(&self) {
        loop {
            let mut core = self.shell.lock();
            let bytes = u64::from(core.log.spares.segment_bytes());
            let enough = core.reserve_bytes() + (READY_SEGMENTS + 2 * SLACK_SEGMENTS) * bytes;
            if core.log.spares.bytes() <= enough {
                return;
            }
            let disk = core.log.spares.disk().clone();
            let Some(path) = core.log.spares.take_extra() else { return };
            drop(core);
            let _ = disk.remove(&path);
        }
    }

    /// Makes spares of segments that nobody reads any more.
    fn recycle(&mut self) {
        let mut core = self.shell.lock();
        let (free, read): (Vec<_>, Vec<_>) =
            self.retired.drain(..).partition(|segment| Arc::strong_count(segment) == 1);
        self.retired = read;
        for segment in free {
            if let Err(error) = make_spare(&mut core, &segment) {
                tracing::warn!(%error, segment = segment.id, "a used segment could not be kept");
            }
        }
    }

    /// Cleans a part of the oldest segment, if there is a need. Whether there is more to do.
    async fn clean_some(&mut self) -> Result<bool> {
        let Some(oldest) = self.next_to_clean() else { return Ok(false) };
        let unused = self.shell.lock().unused_oldest();
        if unused > 0 {
            self.drop_oldest(unused).await?;
            return Ok(true);
        }
        if self.cleaning.as_ref().is_none_or(|cleaning| cleaning.segment() != oldest.id) {
            // INVARIANT: a segment is looked through only when all of it is in its file. Its last
            // frames may still wait to be written, though others were begun behind it.
            let written = Position::new(oldest.id + 1, 0);
            self.shell.commit.write(self.shell, written, Operation::Administer)?;
            self.cleaning = Cleaning::begin(&oldest).map_err(unreadable).map(Some)?;
        }
        if self.copied > self.shell.lock().log.appended_bytes() + IDLE_COPY_BYTES {
            return Ok(false);
        }
        match self.next_candidates() {
            Some(candidates) => {
                if let Err(error) = self.relocate(&candidates) {
                    // INVARIANT: a segment is dropped only after all of it was looked through, so
                    // what could not be copied is looked at again.
                    self.cleaning = None;
                    return Err(error);
                }
            }
            None => {
                self.cleaning = None;
                self.drop_oldest(1).await?;
            }
        }
        Ok(true)
    }

    /// The oldest segment, if the log holds more than it should.
    fn next_to_clean(&self) -> Option<Arc<Segment>> {
        let core = self.shell.lock();
        let oldest = core.log.oldest()?;
        let (_, used) = core.log.size();
        let live = core.state.usage_ref().live_bytes();
        let segments = SLACK_SEGMENTS * u64::from(core.log.spares.segment_bytes());
        let slack = segments.min(SLACK_BYTES);
        (used > 2 * live + slack).then(|| oldest.clone())
    }

    /// The next candidates, as many as are copied at once.
    fn next_candidates(&mut self) -> Option<Vec<Candidate>> {
        let cleaning = self.cleaning.as_mut()?;
        let mut candidates = cleaning.next()?;
        let mut bytes: usize = candidates.iter().map(Candidate::len).sum();
        while bytes < COPY_BYTES {
            let Some(more) = cleaning.next() else { break };
            bytes += more.iter().map(Candidate::len).sum::<usize>();
            candidates.extend(more);
        }
        Some(candidates)
    }

    fn relocate(&mut self, candidates: &[Candidate]) -> Result<()> {
        let (needed, bytes) = {
            let core = self.shell.lock();
            let sized =
                candidates.iter().filter_map(|c| Some((c, core.state.relocation_bytes(c)?)));
            let (needed, bytes): (Vec<_>, Vec<_>) = sized.unzip();
            (needed.into_iter().cloned().collect::<Vec<_>>(), bytes.iter().sum::<usize>())
        };
        if needed.is_empty() {
            return Ok(());
        }
        let end = self.shell.command(Operation::Administer, bytes, |core| {
            let ((), end) = core.effect(|state, frame| state.relocate(&needed, frame));
            Ok(end)
        })?;
        self.copied += bytes as u64;
        self.shell.commit.write(self.shell, end, Operation::Administer)
    }

    /// Takes the oldest segments out of the log, of which all that is needed was copied.
    async fn drop_oldest(&mut self, count: usize) -> Result<()> {
        // INVARIANT: before the log says that a segment is not needed, all that makes it so is
        // synced: the copies, and the ends of the tasks that were not copied. What the log says may
        // outlive a power cut that takes what was written before it.
        self.sync().await?;
        self.shell.command(Operation::Administer, 64, |core| {
            let floor = core.log.floor_after(count);
            core.effect(|state, frame| state.raise_floor(floor, frame));
            Ok(())
        })?;
        // INVARIANT: before a file is used again, the log says that it is no longer a segment.
        self.sync().await?;
        let mut core = self.shell.lock();
        for _ in 0..count {
            let Some(oldest) = core.log.drop_oldest() else { return Ok(()) };
            core.state.usage().forget(oldest.id);
            self.retired.push(oldest);
        }
        Ok(())
    }

    /// Syncs, unless the log never does: then a power cut may lose all, and the log says so.
    async fn sync(&self) -> Result<()> {
        let commit = &self.shell.commit;
        match commit.durability() {
            Durability::Never => {
                let end = self.shell.lock().log.end();
                commit.write(self.shell, end, Operation::Administer)
            }
            // WHY: as one of those who wait, so that it takes no turn from them.
            Durability::Always => {
                let end = self.shell.lock().log.end();
                commit.durable(self.shell, end, Operation::Administer).await
            }
            Durability::Interval(_) => commit.sync_for(self.shell),
        }
    }
}

impl Core {
    /// How many of the oldest segments hold nothing that is needed.
    fn unused_oldest(&self) -> usize {
        self.log.full_segments().take_while(|segment| self.state.is_unused(segment.id)).count()
    }
}

/// Makes segments larger as the log grows.
fn grow_segments(core: &mut Core) {
    let (_, used) = core.log.size();
    // WHY: all the way at once. A large log that was just opened would remove spares as too many for
    // its small segments, and fill others for the larger ones a moment later.
    let mut bytes = core.log.spares.segment_bytes();
    while bytes < SEGMENT_BYTES_MAX && core.log.grows() && used > 4 * u64::from(bytes) {
        bytes = (bytes * 2).min(SEGMENT_BYTES_MAX);
    }
    core.log.spares.set_segment_bytes(bytes);
}

fn make_spare(core: &mut Core, segment: &Arc<Segment>) -> io::Result<()> {
    let spares = &mut core.log.spares;
    let (number, path) = spares.next_path();
    let from = segment_path(spares.dir(), segment.id);
    // WHY: no sync, which would be one under the lock. After a power cut the file may have its old
    // name, of a segment below a floor that is on the disk: the next open makes it a spare. Nothing
    // is written to it before its next name is synced, and this one with it.
    spares.disk().rename(&from, &path)?;
    spares.add(number, segment.file.clone(), segment.size);
    Ok(())
}

fn unreadable(error: io::Error) -> tidegate_core::Error {
    let why = format!("the oldest segment of the log cannot be read: {error}");
    tidegate_core::Error::new(tidegate_core::ErrorKind::Unavailable, Operation::Administer, why)
        .caused_by(error)
}

/// Starts a thread of the engine.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(format!("tidegate-{name}")).spawn(run)
}

#[cfg(test)]
mod tests {
    use tidegate_core::{Driver, NewTask, QueueName, QueueSpec};

    use super::*;
    use crate::Options;
    use crate::disk::{Disk, RealDisk};
    use crate::driver::EngineDriver;
    use crate::engine::Engine;

    /// Else a large log removes spares after each open, and makes them again.
    #[test]
    fn after_an_open_segments_are_as_large_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { durability: Durability::Never, ..Options::new(dir.path()) };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let open = || Arc::new(Engine::open_unattended(&options, &disk, [7; 16]).unwrap());
        let size = |engine: &Engine| {
            block_on(Janitor::new(&engine.shell, &AtomicBool::new(false)).step());
            engine.shell.lock().log.spares.segment_bytes()
        };
        let engine = open();
        let queue = QueueName::new("q").unwrap();
        let driver = EngineDriver::new(engine.clone());
        block_on(driver.declare(&QueueSpec::new(queue.clone()))).unwrap();
        let tasks = vec![NewTask::new("kind", vec![7; 1 << 20]); 36];
        for task in tasks.chunks(1) {
            assert!(block_on(driver.enqueue(&queue, task)).unwrap()[0].is_ok());
        }
        let before = size(&engine);
        assert_eq!(before, 16 << 20);
        drop((driver, engine));
        assert_eq!(size(&open()), before);
    }
}
