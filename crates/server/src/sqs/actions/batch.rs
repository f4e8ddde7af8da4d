//! What all batches have in common.

use crate::sqs::errors::{Code, Failure};
use crate::sqs::limits::{BATCH_MAX, ID_CHARS_MAX};
use crate::sqs::lists::Entries;
use crate::sqs::shapes::{BatchResult, BatchResultErrorEntry, Text};

/// Checks the entries' number and their ids.
pub(super) fn check<'a, T>(
    entries: Option<&'a Entries<T>>,
    entry: &str,
    id: impl Fn(&'a T) -> Option<&'a Text<'a>>,
) -> Result<(), Failure> {
    let (entries, sent) =
        entries.map_or((&[][..], 0), |Entries { first, sent }| (first.as_slice(), *sent));
    if sent == 0 {
        let why = format!("There should be at least one {entry} in the request.");
        return Err(Code::EmptyBatchRequest.because(why));
    }
    if sent > BATCH_MAX {
        let why =
            format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {sent}.");
        return Err(Code::TooManyEntriesInBatchRequest.because(why));
    }
    let mut ids: Vec<&str> = Vec::with_capacity(entries.len());
    for (n, entry_) in entries.iter().enumerate() {
        let id = id(entry_).ok_or_else(|| Failure::missing(&format!("{entry}.{}.Id", n + 1)))?;
        if !is_id(id) {
            let why = "A batch entry id can only contain alphanumeric characters, hyphens and \
                       underscores. It can be at most 80 letters long.";
            return Err(Code::InvalidBatchEntryId.because(why));
        }
        // WHY: there are so few that to look at each is the fastest.
        if ids.contains(&id.0.as_ref()) {
            return Err(Code::BatchEntryIdsNotDistinct.because(format!("Id {id} repeated.")));
        }
        ids.push(&id.0);
    }
    Ok(())
}

/// Whether it is an entry's id, or a permission's label.
pub(super) fn is_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(allowed)
}

/// The answer, of what became of each entry.
pub(super) fn result<'a, T, S>(
    done: Vec<(Text<'a>, Result<T, Failure>)>,
    successful: impl Fn(Text<'a>, T) -> S,
) -> BatchResult<S> {
    let mut result = BatchResult { successful: Vec::with_capacity(done.len()), failed: Vec::new() };
    for (id, done) in done {
        match done {
            Ok(done) => result.successful.push(successful(id, done)),
            Err(Failure { code, message }) => result.failed.push(BatchResultErrorEntry {
                id: id.0.into_owned(),
                sender_fault: code.is_senders(),
                code: code.query_code().to_owned(),
                message,
            }),
        }
    }
    result
}
