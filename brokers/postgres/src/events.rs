//! Telling those who wait that tasks became available: here at once, elsewhere by NOTIFY.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_core::Operation;
use tokio::sync::Notify;
use tokio_postgres::types::Type;

use crate::driver::Inner;
use crate::queues::Queue;

/// The channel that all schemas of a database share.
pub(crate) const CHANNEL: &str = "tidegate";
/// Least time between two notices of one process.
const PAUSE: Duration = Duration::from_millis(2);

/// Notices on their way to other processes.
#[derive(Debug)]
pub(crate) struct Events {
    /// Tells this process's own notices from those of others.
    pub(crate) instance: u64,
    pending: Mutex<HashMap<i64, usize>>,
    poked: Notify,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { instance: fastrand::u64(..), pending: Mutex::default(), poked: Notify::new() }
    }

    /// `count` tasks of the queue became available.
    pub(crate) fn tell(&self, queue: &Queue, count: usize) {
        if count == 0 {
            return;
        }
        queue.ready.notify_additional(count);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let told = pending.entry(queue.id).or_default();
        *told = told.saturating_add(count);
        drop(pending);
        self.poked.notify_one();
    }
}

/// What a notice says.
pub(crate) fn notice(schema: &str, queue: i64, count: usize, instance: u64) -> String {
    format!("{instance} {queue} {count} {schema}")
}

/// Reads a notice for this schema from another process: the queue, and how many tasks.
pub(crate) fn read_notice(text: &str, schema: &str, instance: u64) -> Option<(i64, usize)> {
    let mut words = text.splitn(4, ' ');
    let from: u64 = words.next()?.parse().ok()?;
    let queue = words.next()?.parse().ok()?;
    let count = words.next()?.parse().ok()?;
    (words.next()? == schema && from != instance).then_some((queue, count))
}

/// Sends notices, what has come together as one.
///
/// WHY: not in the transaction that enqueues: a NOTIFY takes a lock of the whole server until its
/// transaction is durable, and senders would wait for each other's disk.
pub(crate) async fn send_notices(inner: Arc<Inner>) {
    let Inner { server, events, .. } = &*inner;
    loop {
        events.poked.notified().await;
        let told =
            std::mem::take(&mut *events.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let schema = &server.statements.schema;
        let told = told.iter().map(|(id, count)| notice(schema, *id, *count, events.instance));
        let told: Vec<String> = told.collect();
        let send = "SELECT pg_notify($1, u.notice) FROM unnest($2) AS u (notice)";
        let sent = [(&CHANNEL as _, Type::TEXT), (&told as _, Type::TEXT_ARRAY)];
        if let Err(error) = server.call(Operation::Enqueue, send, &sent).await {
            tracing::debug!(%error, "others were not told of new tasks; they look by themselves");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_others_for_this_schema_is_read() {
        let text = notice("\"a b\"", 7, 3, 1);
        assert_eq!(read_notice(&text, "\"a b\"", 2), Some((7, 3)));
        assert_eq!(read_notice(&text, "\"a b\"", 1), None);
        assert_eq!(read_notice(&text, "\"c\"", 2), None);
        assert_eq!(read_notice("garbage", "\"c\"", 2), None);
    }
}
