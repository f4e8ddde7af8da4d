//! What the server or the connection says, as errors that answer what kind, and whether a retry helps.

use std::error::Error as StdError;
use std::sync::Arc;

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind};
use tidegate_core::{Error, ErrorKind, Operation};

use crate::link::says_changing;

/// What a script answers where there is no such queue.
pub(crate) const NO_QUEUE: &str = "NOQUEUE";

pub(crate) fn error_of(error: RedisError, server: &str, doing: Operation) -> Error {
    let code = error.code().unwrap_or_default().to_owned();
    let detail = error.detail().unwrap_or_default().to_owned();
    let (kind, why) = match code.as_str() {
        "NOAUTH" | "WRONGPASS" | "NOPERM" => {
            (ErrorKind::Denied, format!("{server} refuses this user: {detail}"))
        }
        "OOM" => (
            ErrorKind::DiskFull,
            format!("{server} has no memory left; raise maxmemory or take tasks out"),
        ),
        "MISCONF" => (ErrorKind::DiskFull, format!("{server} cannot write to its disk: {detail}")),
        _ if says_changing(&error) || ["LOADING", "BUSY"].contains(&&*code) => {
            (ErrorKind::Unavailable, format!("{server} cannot serve now: {code} {detail}"))
        }
        NO_QUEUE => (ErrorKind::NotFound, "there is no such queue; declare it first".into()),
        _ => match error.kind() {
            Redis::AuthenticationFailed => {
                (ErrorKind::Denied, format!("{server} refuses this user"))
            }
            Redis::Server(ServerErrorKind::ResponseError) | Redis::Extension
                if !code.is_empty() =>
            {
                (ErrorKind::Unexpected, format!("{server} answered {code} {detail}"))
            }
            _ if let Some(why) = untrusted(&error) => (
                ErrorKind::Invalid,
                format!(
                    "{server} shows a certificate that is not trusted here: {why}; name its authority with `ca=FILE`"
                ),
            ),
            _ if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() => {
                (ErrorKind::Unavailable, format!("{server} is not there, or does not answer"))
            }
            _ => (ErrorKind::Unexpected, format!("{server}: {error}")),
        },
    };
    Error::new(kind, doing, why).caused_by(error)
}

/// An error for another one who waited for the same call.
pub(crate) fn told_again(error: &Error, doing: Operation) -> Error {
    let again = Error::new(error.kind(), doing, error.message());
    match error.source().and_then(|source| source.downcast_ref::<RedisError>()) {
        Some(source) => again.caused_by(source.clone()),
        None => again,
    }
}

/// Why a server's certificate was refused, if that is what went wrong.
fn untrusted(error: &RedisError) -> Option<String> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        // WHY: neither of these two names what it holds as its source.
        if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
            next = Some(&**shared);
            continue;
        }
        let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match held.and_then(|held| held.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(why)) => return Some(why.to_string()),
            _ => next = error.source(),
        }
    }
    None
}
