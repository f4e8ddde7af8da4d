//! The end of a service: what has begun is finished, nothing new begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// Counts what has begun, and ends what can be ended.
#[derive(Debug)]
pub(super) struct Drain {
    has_begun: watch::Sender<bool>,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: AtomicUsize,
    none: Notify,
}

/// Something that has begun, until it is dropped.
#[derive(Debug)]
pub(super) struct Begun(Arc<Open>);

impl Drop for Begun {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Drain {
    pub(super) fn new() -> Self {
        Self { has_begun: watch::Sender::new(false), open: Arc::default() }
    }

    pub(super) fn begin(&self) {
        self.has_begun.send_replace(true);
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.has_begun.borrow()
    }

    /// Ends once the drain begins.
    pub(super) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut has_begun = self.has_begun.subscribe();
        async move {
            if has_begun.wait_for(|begun| *begun).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Counts something as begun.
    pub(super) fn enter(&self) -> Begun {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        Begun(self.open.clone())
    }

    /// Ends once the drain has begun and all that began has ended.
    pub(super) async fn done(&self) {
        self.begun().await;
        loop {
            let none = self.open.none.notified();
            tokio::pin!(none);
            // INVARIANT: enabled before the count is read, so that the last one is not missed.
            none.as_mut().enable();
            if self.open.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_end_comes_when_it_has_begun_and_nothing_is_open() {
        let drain = Drain::new();
        let first = drain.enter();
        assert!(drain.done().now_or_never().is_none());
        drain.begin();
        assert!(drain.has_begun());
        assert!(drain.done().now_or_never().is_none());
        let second = drain.enter();
        drop(first);
        assert!(drain.done().now_or_never().is_none());
        let (done, ()) = tokio::join!(drain.done(), async { drop(second) });
        assert_eq!(done, ());
    }
}
