//! The embedded durable engine of Tidegate.
//!
//! Three parts that never mix: [`state`] is pure and knows the queues, [`log`] turns what happens
//! into frames in segments, and [`shell`] stands between callers and the state. `commit` makes
//! frames durable; `flusher`, `janitor` and `timekeeper` are the threads. `driver`, `session` and
//! `views` are the contract's face. Only `disk` touches files; `simulation` is another disk, and
//! the threads done by hand; `fuzzing` is what the fuzz targets see.
#![expect(rustdoc::private_intra_doc_links, reason = "the map of a private house")]

#[cfg(test)]
mod answers;
mod bodies;
mod commit;
#[cfg(test)]
mod cut;
mod disk;
mod driver;
mod engine;
#[cfg(test)]
mod faulty;
mod flusher;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod janitor;
mod log;
mod logtime;
mod poison;
mod position;
mod session;
mod shell;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod state;
mod timekeeper;
mod token;
mod views;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::capabilities::{
    AtomicScope, CapacitySupport, Completion, DeadLetterSupport, Delay, DeliveryCount, Fencing,
    LeaseSupport, OrderingSupport, ReleaseCost,
};
use tidegate_core::{
    Broker, BrokerParts, Capabilities, Clock, Error, ErrorKind, Operation, Result, SystemClock,
    limits,
};

use disk::{Disk, RealDisk};
use driver::EngineDriver;
use engine::Engine;
use log::spares::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// When an acknowledged change is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged. A power cut loses nothing acknowledged.
    #[default]
    Always,
    /// With the next sync, which begins at most this long after it was acknowledged: a power cut
    /// loses that much and what is acknowledged while a sync takes its time, a kill nothing.
    Interval(Duration),
    /// When the operating system likes. A power cut may lose all, a kill nothing.
    Never,
}

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made if it is missing.
    pub path: PathBuf,
    /// When an acknowledged change is on the disk.
    pub durability: Durability,
    /// Payloads are kept in memory up to this many bytes; beyond, they are read from the disk when
    /// their tasks are received. Default: 256 MiB.
    pub payload_memory_bytes: u64,
    /// Bytes of the log's first segments; they grow to 64 MiB as the log does. Default: 4 MiB.
    /// Smaller ones, for tests, never grow.
    pub segment_bytes: u32,
    /// The time the engine goes by.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// An engine in `path` with the defaults.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            durability: Durability::Always,
            payload_memory_bytes: 256 << 20,
            segment_bytes: SEGMENT_BYTES_MIN,
            clock: Arc::new(SystemClock::new()),
        }
    }

    fn check(&self) -> Result<()> {
        let fits = (SEGMENT_SMALLEST..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes);
        let broken = if !fits {
            Some(format!("segment_bytes must be {SEGMENT_SMALLEST} to {SEGMENT_BYTES_MAX}"))
        } else if self.durability == Durability::Interval(Duration::ZERO) {
            Some("an interval of zero is `always`; say so".to_owned())
        } else {
            None
        };
        broken.map_or(Ok(()), |why| Err(Error::new(ErrorKind::Invalid, Operation::Open, why)))
    }
}

/// What an open found in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Parts of the log that were acknowledged and cannot be read, in the order of the log. All else
    /// is served.
    pub damage: Vec<Damage>,
    /// Whether the log ended with a clean close, or was new. If not, it was read up to the first
    /// frame that nothing says was synced and that is not whole; what a crash left behind there was
    /// not acknowledged, but damage there looks the same.
    pub was_closed: bool,
}

/// A part of the log that was acknowledged and cannot be read: tasks sent in it may be lost, and
/// tasks settled in it may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The number of the segment in which it begins.
    pub segment: u32,
    /// The byte of the segment at which it begins.
    pub offset: u32,
    /// The first frame that is gone, or 0 where the log's first frames are and nothing tells it.
    pub from_frame: u64,
    /// The first frame behind it that is there.
    pub to_frame: u64,
}

/// The smallest segment: one that still holds a few frames.
const SEGMENT_SMALLEST: u32 = 16 << 10;

/// Opens the engine in a directory, or makes it. One process at a time can hold a directory; a
/// second one is told which does (`Locked`). The thread is blocked while the log is read.
///
/// # Errors
/// `Locked`; `Format` for a log that a newer version wrote; `Corrupt` if a part of the log is
/// missing; `Unavailable` if the directory cannot be used; `Invalid` for options that make no
/// sense.
pub async fn open(options: Options) -> Result<Broker> {
    open_with_report(options).await.map(|(broker, _)| broker)
}

/// Opens the engine as [`open`] does, and tells what was found in the directory.
///
/// # Errors
/// Those of [`open`].
pub async fn open_with_report(options: Options) -> Result<(Broker, Found)> {
    options.check()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let engine = Arc::new(Engine::open(&options, &disk)?);
    let found = engine.found.clone();
    Ok((broker(engine, &options), found))
}

fn broker(engine: Arc<Engine>, options: &Options) -> Broker {
    let driver = Arc::new(EngineDriver::new(engine));
    Broker::new(BrokerParts {
        label: format!("embedded:{}", options.path.display()),
        driver: driver.clone(),
        inspect: Some(driver.clone()),
        admin: Some(driver.clone()),
        atomic: Some(driver),
        clock: options.clock.clone(),
    })
}

/// What the engine can do: all of the contract.
pub fn capabilities() -> Capabilities {
    Capabilities {
        delay: Delay::UpTo(limits::DELAY_MAX),
        retry_delay: Delay::UpTo(limits::DELAY_MAX),
        priority_max: Some(u8::MAX),
        dedup_window_max: Some(limits::DEDUP_WINDOW_MAX),
        dedup_until_done: true,
        ordering: OrderingSupport::PerKey,
        lease: LeaseSupport::Timed(limits::LEASE_MAX),
        lease_per_receive: true,
        attempt_memory: Some(limits::ATTEMPT_MEMORY),
        fencing: Fencing::Enforced,
        release: ReleaseCost::KeepsAttempt,
        deliveries: DeliveryCount::Counted,
        completion: Completion::Final,
        dead_letters: DeadLetterSupport::StateOrQueue,
        capacity: CapacitySupport::Exact,
        atomic: AtomicScope::SameBroker,
        membership: false,
        durable: true,
        retention: true,
        batch_max: limits::BATCH_TASKS_MAX,
        payload_max: limits::PAYLOAD_BYTES_MAX,
    }
}
