//! The embedded durable engine of Tidegate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::{Broker, Clock, Error, ErrorKind, Operation, Result, SystemClock};

/// When an acknowledged change is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged. A power cut loses nothing acknowledged.
    #[default]
    Always,
    /// At most this long after it was acknowledged: a power cut loses that much, a kill nothing.
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
    /// Payloads of ready tasks are kept in memory up to this many bytes; beyond, they are read
    /// from the disk when they are received. Default: 256 MiB.
    pub payload_memory_bytes: u64,
    /// The time the engine goes by.
    pub clock: Arc<dyn Clock>,
}

impl Options {
    /// An engine in `path` with the defaults.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            durability: Durability::Always,
            payload_memory_bytes: 256 * 1024 * 1024,
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// Opens the engine in a directory, or makes it.
pub async fn open(options: Options) -> Result<Broker> {
    let why = "the engine is not written yet";
    Err(Error::new(ErrorKind::Unsupported, Operation::Open, why)
        .about(format!("{:?}", options.path)))
}
