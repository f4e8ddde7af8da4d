//! What the suite needs to know about a kind of broker to try it.

use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{Broker, ManualClock};

/// One kind of broker and how to get at it.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// What it is called in reports and in `TIDEGATE_REQUIRE`.
    fn name(&self) -> &'static str;

    /// A broker on a fresh, empty namespace, for one case; cases run beside each other. `None` if
    /// this machine has none configured.
    async fn stage(&self) -> Option<Box<dyn Stage>>;

    /// The shortest time this broker can tell apart: 1 ms in memory, 1 s on SQS. Cases count
    /// their leases and delays in it.
    fn tick(&self) -> Duration;

    /// Whether the broker lives in the process of its callers, so that its restart is their end too
    /// and the leases they held end with it.
    fn in_process(&self) -> bool;

    /// Cases known to fail. They are run and must fail, so that the list only shrinks.
    fn deviations(&self) -> &'static [Deviation];
}

/// A case that a broker is known to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The case's whole name.
    pub case: &'static str,
    /// Why it fails.
    pub reason: &'static str,
    /// Where that is written down.
    pub link: &'static str,
}

/// One fresh broker with its time and its life in the suite's hands. Dropping it may take the
/// broker's data away.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The broker as it was opened first, or by the last [`Stage::restart`].
    fn broker(&self) -> Broker;

    /// Returns when this much of the broker's time has passed: a manual clock moves, a real one
    /// is slept on.
    async fn let_time_pass(&self, by: Duration);

    /// Whether time stands still between calls of [`Stage::let_time_pass`], so that a task that is
    /// not there at once will not come.
    fn time_stands_still(&self) -> bool;

    /// Ends the broker as a kill would, as far as this kind can, and opens it again on the same
    /// data. Handles from before are not used again. `None` if this kind cannot.
    async fn restart(&self) -> Option<Broker>;
}

/// Moves a manual clock, after everybody who was about to wait on it had a turn.
pub async fn advance(clock: &ManualClock, by: Duration) {
    tokio::task::yield_now().await;
    clock.advance(by);
    tokio::task::yield_now().await;
}
