//! One error for every broker. It answers three questions: what kind, may I retry, what was I doing.

use std::fmt;

use crate::name::QueueName;

/// A result with Tidegate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, independent of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The broker cannot do this and says so. Not retryable.
    Unsupported,
    /// An argument breaks a rule or a limit. Not retryable.
    Invalid,
    /// The queue or task does not exist. Not retryable.
    NotFound,
    /// What exists differs from what was asked for. Not retryable.
    Conflict,
    /// The queue holds as many tasks as its capacity allows. Retryable.
    QueueFull,
    /// The disk holds as much as its reserve allows. Retryable once space is free.
    DiskFull,
    /// Another process holds the data directory. Not retryable until it stops.
    Locked,
    /// The broker cannot be reached or gave no answer. Retryable.
    Unavailable,
    /// The broker or session was closed. Not retryable.
    Closed,
    /// Stored data is damaged. Not retryable.
    Corrupt,
    /// A write failed earlier and nothing after it can be trusted. Not retryable: restart.
    Poisoned,
    /// The stored format is newer than this program. Not retryable.
    Format,
    /// The caller may not do this. Not retryable: ask for the right.
    Denied,
    /// A bug or a broker's answer nobody expected. Not retryable.
    Unexpected,
}

/// What was being done when it went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Connecting to or opening a broker.
    Open,
    /// Declaring a queue.
    Declare,
    /// Enqueueing tasks.
    Enqueue,
    /// Opening a session.
    OpenSession,
    /// Receiving tasks.
    Receive,
    /// Settling leases.
    Settle,
    /// Extending leases.
    Extend,
    /// Closing a broker or session.
    Close,
    /// Looking at queues and tasks.
    Inspect,
    /// Changing queues.
    Administer,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Declare => "declare",
            Self::Enqueue => "enqueue to",
            Self::OpenSession => "open a session on",
            Self::Receive => "receive from",
            Self::Settle => "settle on",
            Self::Extend => "extend leases on",
            Self::Close => "close",
            Self::Inspect => "inspect",
            Self::Administer => "administer",
        })
    }
}

/// An error of a broker. Its text fits behind "failed to".
///
/// ```
/// # use tidegate_core::{Error, ErrorKind, Operation, QueueName};
/// let error = Error::new(ErrorKind::Unavailable, Operation::Enqueue, "redis is unavailable")
///     .on(&QueueName::new("mail").unwrap());
/// assert_eq!(error.to_string(), r#"enqueue to "mail": redis is unavailable (retryable)"#);
/// assert!(error.is_retryable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Operation,
    subject: Option<String>,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` met while doing `operation`. `message` says what is wrong and what to do.
    pub fn new(kind: ErrorKind, operation: Operation, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, operation, subject: None, message, source: None }))
    }

    /// Names the queue it is about.
    pub fn on(self, queue: &QueueName) -> Self {
        self.about(format!("{queue:?}"))
    }

    /// Names what it is about, where that is not a queue.
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// Keeps the error that led to it.
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error, met while doing `operation`.
    pub fn during(mut self, operation: Operation) -> Self {
        self.0.operation = operation;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// What it is about, such as a queue's name in quotes.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// What is wrong, without the operation.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call can succeed later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::QueueFull | ErrorKind::DiskFull | ErrorKind::Unavailable)
    }
}

/// What a `main` that returns an error prints: the text, the kind, and what led to it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {self} [{:?}]", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, "; caused by: {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.operation)?;
        if let Some(subject) = &self.0.subject {
            write!(f, " {subject}")?;
        }
        write!(f, ": {}", self.0.message)?;
        if self.is_retryable() {
            f.write_str(" (retryable)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
