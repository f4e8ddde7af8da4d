//! When what was acknowledged is on the disk.

use std::time::Duration;

use clap::ValueEnum;

/// What a queue is set to. Each peer says which of its settings that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// Before the acknowledgement.
    Always,
    /// Some time after it.
    Interval,
    /// When the operating system likes.
    Never,
}

/// How long after its acknowledgement a change may stay unsynced with `Interval`, where a peer lets
/// one choose: what Redis does with `everysec`.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

impl Durability {
    pub(crate) fn of_engine(self) -> tidegate::Durability {
        match self {
            Self::Always => tidegate::Durability::Always,
            Self::Interval => tidegate::Durability::Interval(INTERVAL),
            Self::Never => tidegate::Durability::Never,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Never => "never",
        }
    }
}
