//! The engine keeps the whole contract, restarts included.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_conformance::harness::{Deviation, Harness, Stage, advance};
use tidegate_core::{Broker, ManualClock};
use tidegate_engine::Options;

struct EngineHarness;

struct EngineStage {
    dir: TempDir,
    clock: ManualClock,
    broker: Mutex<Broker>,
}

fn main() -> ExitCode {
    tidegate_conformance::main(EngineHarness)
}

/// Small segments, so that cases cross them.
fn options(dir: &TempDir, clock: &ManualClock) -> Options {
    Options {
        segment_bytes: 64 << 10,
        payload_memory_bytes: 512 << 10,
        clock: Arc::new(clock.clone()),
        ..Options::new(dir.path())
    }
}

#[async_trait]
impl Harness for EngineHarness {
    fn name(&self) -> &'static str {
        "engine"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let dir = tempfile::tempdir().ok()?;
        let clock = ManualClock::new();
        let broker = tidegate_engine::open(options(&dir, &clock)).await.ok()?;
        Some(Box::new(EngineStage { dir, clock, broker: Mutex::new(broker) }))
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

#[async_trait]
impl Stage for EngineStage {
    fn broker(&self) -> Broker {
        self.broker.lock().unwrap().clone()
    }

    async fn let_time_pass(&self, by: Duration) {
        advance(&self.clock, by).await;
    }

    fn time_stands_still(&self) -> bool {
        true
    }

    async fn restart(&self) -> Option<Broker> {
        self.broker().close().await.unwrap();
        let again = tidegate_engine::open(options(&self.dir, &self.clock)).await.unwrap();
        *self.broker.lock().unwrap() = again.clone();
        Some(again)
    }
}
