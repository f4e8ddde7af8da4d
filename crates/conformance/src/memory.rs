//! The memory broker on the suite's stage.

use std::time::Duration;

use async_trait::async_trait;
use std::sync::Arc;
use tidegate_core::{Broker, ManualClock, memory};

use crate::harness::{Deviation, Harness, Stage, advance};

/// The memory broker with a manual clock. It does not outlive its process, so it never restarts.
#[derive(Clone, Copy, Debug)]
pub struct MemoryHarness;

#[async_trait]
impl Harness for MemoryHarness {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let clock = ManualClock::new();
        let broker = memory::broker(Arc::new(clock.clone()));
        Some(Box::new(MemoryStage { broker, clock }))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn in_process(&self) -> bool {
        true
    }

    fn deviations(&self) -> &'static [Deviation] {
        &[]
    }
}

/// A broker that goes by a manual clock and cannot restart.
#[derive(Debug)]
pub(crate) struct MemoryStage {
    pub(crate) broker: Broker,
    pub(crate) clock: ManualClock,
}

#[async_trait]
impl Stage for MemoryStage {
    fn broker(&self) -> Broker {
        self.broker.clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        advance(&self.clock, by).await;
    }

    fn time_stands_still(&self) -> bool {
        true
    }

    async fn restart(&self) -> Option<Broker> {
        None
    }
}
