//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It failed; the error says why.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The queue or the task is not there.
    Missing = 3,
    /// Trying again later may help: the queue is full, the directory held, the broker away.
    Later = 4,
}

/// The codes as every help text lists them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; the error on stderr says why and what to do
  2  the command line or the configuration is wrong
  3  the queue or task is not there
  4  try again later: the queue or disk is full, the directory is held by another
     process, or the broker is away";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
