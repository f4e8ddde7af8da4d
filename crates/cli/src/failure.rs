//! Why a command failed: what is told on stderr, and the exit code.

use std::process::ExitCode;

use tidegate::{Error, ErrorKind};

use crate::config::Problem;
use crate::exit::Exit;

/// Why a command failed. The text fits behind "failed to" for broker errors and stands alone
/// otherwise.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    told: Told,
    help: Option<String>,
}

#[derive(Debug)]
enum Told {
    Text(String),
    Problem(Problem),
    /// It was told already, or whoever listened is gone.
    Nothing,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, told: Told::Text(text.into()), help: None }
    }

    /// Something went wrong.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// The command line asks for what makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// A queue or task is not there.
    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self::new(Exit::Missing, text)
    }

    /// Trying again later may help.
    pub(crate) fn later(text: impl Into<String>) -> Self {
        Self::new(Exit::Later, text)
    }

    /// Nothing is left to tell.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, told: Told::Nothing, help: None }
    }

    /// Says what to do, unless something was said already.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert(help.into());
        self
    }

    /// Says where it happened before what happened.
    pub(crate) fn behind(mut self, place: &str) -> Self {
        if let Told::Text(text) = &mut self.told {
            text.insert_str(0, place);
        }
        self
    }

    /// Tells it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        match self.told {
            Told::Text(text) => eprintln!("error: {text}"),
            Told::Problem(problem) => eprintln!("{:?}", miette::Report::new(problem)),
            Told::Nothing => {}
        }
        if let Some(help) = self.help {
            eprintln!("  help: {help}");
        }
        self.exit.into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Unsupported => Exit::Usage,
            ErrorKind::NotFound => Exit::Missing,
            ErrorKind::QueueFull | ErrorKind::DiskFull => Exit::Later,
            ErrorKind::Locked | ErrorKind::Unavailable => Exit::Later,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, format!("failed to {error}"));
        match error.kind() {
            ErrorKind::NotFound => failure.with_help("`tidegate queue list` shows the queues"),
            ErrorKind::QueueFull => failure.with_help(
                "let workers catch up, wait for room with --wait, or make the queue larger",
            ),
            ErrorKind::Locked => failure.with_help(
                "that process should answer on the socket beside the data and does not: wait for it \
                 to end, or stop it",
            ),
            _ => failure,
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { exit: Exit::Usage, told: Told::Problem(problem), help: None }
    }
}
