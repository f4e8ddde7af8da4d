//! The engine answers as the memory broker does, command for command, whatever the sequence, with
//! restarts in between.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tempfile::TempDir;
use tidegate_conformance::model::{self, Subject};
use tidegate_core::{Broker, ManualClock};
use tidegate_engine::{Durability, Options};

/// An engine in a directory of its own.
struct EngineSubject {
    dir: TempDir,
    durability: Durability,
    open: Mutex<Option<(Broker, ManualClock)>>,
}

impl EngineSubject {
    fn new(durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, durability, open: Mutex::new(None) }
    }

    async fn open_with(&self, clock: ManualClock) -> Broker {
        let options = Options {
            segment_bytes: 16 << 10,
            payload_memory_bytes: 0,
            durability: self.durability,
            clock: Arc::new(clock.clone()),
            ..Options::new(self.dir.path())
        };
        let broker = tidegate_engine::open(options).await.expect("the engine opens");
        *self.open.lock().unwrap() = Some((broker.clone(), clock));
        broker
    }
}

#[async_trait]
impl Subject for EngineSubject {
    async fn open(&self, clock: ManualClock) -> Broker {
        self.open_with(clock).await
    }

    async fn restart(&self) -> Option<Broker> {
        let (broker, clock) = self.open.lock().unwrap().take()?;
        broker.close().await.expect("the engine closes");
        Some(self.open_with(clock).await)
    }
}

#[test]
fn the_engine_answers_as_the_memory_broker_does() {
    model::check(|| EngineSubject::new(Durability::Never), 300, None)
        .unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

#[test]
fn the_engine_answers_as_the_memory_broker_does_when_it_syncs() {
    model::check(|| EngineSubject::new(Durability::Always), 50, None)
        .unwrap_or_else(|mismatch| panic!("{mismatch}"));
}
