//! What the server's errors mean.

use deadpool_postgres::{HookError, PoolError};
use tidegate_core::{Error, ErrorKind, Operation, QueueName, Result};
use tokio_postgres::error::SqlState;

use crate::config::Config;

/// Raised by the functions when they are called in a transaction that reads from one snapshot.
const NOT_READ_COMMITTED: &str = "TG001";

/// An error of the server at `config`, met while doing `operation`.
pub(crate) fn failed(config: &Config, operation: Operation, error: tokio_postgres::Error) -> Error {
    let place = place(config);
    if let Some(why) = untrusted(&error) {
        let why = format!(
            "{place} shows a certificate that is not trusted here: {why}; name its authority with `sslrootcert`"
        );
        return Error::new(ErrorKind::Invalid, operation, why).caused_by(error);
    }
    let (kind, why) = match error.code() {
        Some(code) => by_code(code, &error),
        None if is_setup(&error) => (ErrorKind::Invalid, "refuses this connection"),
        None => (ErrorKind::Unavailable, "is unavailable"),
    };
    let detail = match error.as_db_error() {
        Some(answer) => format!("{place} {why}: {}", answer.message()),
        None => format!("{place} {why}"),
    };
    Error::new(kind, operation, detail).caused_by(error)
}

/// No connection could be had.
pub(crate) fn no_connection(config: &Config, operation: Operation, error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            failed(config, operation, error)
        }
        PoolError::Closed => closed(operation),
        other => {
            let why = format!(
                "{} gave no connection within {:?}; allow more `connections` or look at its load",
                place(config),
                config.connect_timeout
            );
            Error::new(ErrorKind::Unavailable, operation, why).caused_by(other)
        }
    }
}

fn place(config: &Config) -> String {
    format!("PostgreSQL at {}:{}/{}", config.host, config.port, config.database)
}

/// Why a server's certificate was refused, if that is what went wrong.
fn untrusted(error: &tokio_postgres::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // WHY: an input or output error does not name what it holds as its source.
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match held.and_then(|held| held.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(why)) => return Some(why.to_string()),
            _ => next = error.source(),
        }
    }
    None
}

fn is_setup(error: &tokio_postgres::Error) -> bool {
    // WHY: the library names its own errors in words only; a password that is missing or a method of
    // authentication that it does not know is not cured by trying again.
    let text = error.to_string();
    text.starts_with("invalid configuration") || text.starts_with("authentication error")
}

fn by_code(code: &SqlState, error: &tokio_postgres::Error) -> (ErrorKind, &'static str) {
    let text = code.code();
    let class = text.get(..2).unwrap_or_default();
    if text == NOT_READ_COMMITTED {
        return (ErrorKind::Invalid, "was asked in a transaction that reads from one snapshot");
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE || class == "28" {
        return (ErrorKind::Denied, "refuses");
    }
    if [SqlState::DISK_FULL].contains(code) {
        return (ErrorKind::DiskFull, "has no space left");
    }
    if ["42", "3D", "3F"].contains(&class) {
        return (ErrorKind::Format, "has no such schema, or another one than this program knows");
    }
    // Connection, resources, intervention, rolled back, locks, read only while it fails over.
    let passes = ["08", "53", "57", "40", "55", "25"].contains(&class);
    if passes || error.is_closed() {
        return (ErrorKind::Unavailable, "is unavailable");
    }
    (ErrorKind::Unexpected, "gave an answer that nobody expected")
}

pub(crate) fn closed(operation: Operation) -> Error {
    Error::new(ErrorKind::Closed, operation, "the broker was closed")
}

pub(crate) fn missing(name: &QueueName, operation: Operation) -> Error {
    Error::new(ErrorKind::NotFound, operation, "there is no such queue; declare it first").on(name)
}

pub(crate) fn full(name: &QueueName, operation: Operation) -> Error {
    let why = "the queue is full; wait for room or raise its capacity";
    Error::new(ErrorKind::QueueFull, operation, why).on(name)
}

pub(crate) fn unreadable(name: &QueueName, operation: Operation, why: &str) -> Error {
    let why = format!("{why}; pass it on as it was received");
    Error::new(ErrorKind::Invalid, operation, why).on(name)
}

/// What lies in the database is not what this program put there.
pub(crate) fn corrupt(operation: Operation, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, operation, why)
}

/// Names the queue that an error is about, unless it names something already.
pub(crate) fn on<T>(queue: &QueueName, answer: Result<T>) -> Result<T> {
    answer.map_err(|error| if error.subject().is_some() { error } else { error.on(queue) })
}
