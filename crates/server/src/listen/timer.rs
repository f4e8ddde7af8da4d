//! The clock of a connection: one timer of the runtime for all its heads. WHY: hyper makes one for each
//! head and drops it when the head is there, and to put a timer among all others and take it out again
//! costs more than to move its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;
use tokio::time::{Sleep as Running, sleep_until};

/// Makes timers of the one it keeps; of one of its own where that is in use.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadTimer {
    kept: Arc<Mutex<Option<Pin<Box<Running>>>>>,
}

/// A timer that is kept when it is dropped.
struct Lent {
    running: Option<Pin<Box<Running>>>,
    home: HeadTimer,
}

impl HeadTimer {
    fn take(&self) -> Option<Pin<Box<Running>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let running = match self.take() {
            Some(mut kept) => {
                kept.as_mut().reset(deadline.into());
                kept
            }
            None => Box::pin(sleep_until(deadline.into())),
        };
        Box::pin(Lent { running: Some(running), home: self.clone() })
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }
}

impl Future for Lent {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // INVARIANT: taken away by the drop alone.
        self.running.as_mut().map_or(Poll::Ready(()), |running| running.as_mut().poll(context))
    }
}

impl Sleep for Lent {}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.home.kept.lock().unwrap_or_else(PoisonError::into_inner) = self.running.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_kept_ends_when_the_next_one_does_not_when_it_did() {
        let timer = HeadTimer::default();
        let begun = timer.now();
        drop(timer.sleep(Duration::from_secs(60)));
        assert!(timer.kept.lock().unwrap().is_some());
        tokio::time::advance(Duration::from_secs(59)).await;
        timer.sleep(Duration::from_secs(60)).await;
        assert_eq!(timer.now() - begun, Duration::from_secs(119));
        timer.sleep(Duration::from_secs(1)).await;
        assert_eq!(timer.now() - begun, Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn two_at_the_same_time_have_an_end_each() {
        let timer = HeadTimer::default();
        let begun = timer.now();
        let (long, short) =
            (timer.sleep(Duration::from_secs(9)), timer.sleep(Duration::from_secs(3)));
        short.await;
        assert_eq!(timer.now() - begun, Duration::from_secs(3));
        long.await;
        assert_eq!(timer.now() - begun, Duration::from_secs(9));
    }
}
