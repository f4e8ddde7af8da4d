//! Sequences of commands, restarts among them: the engine must answer as the memory broker does.
#![no_main]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidegate_conformance::model::{self, Subject};
use tidegate_core::{Broker, ManualClock};
use tidegate_engine::{Durability, Options};

fuzz_target!(|bytes: &[u8]| {
    let commands = tidegate_fuzz::commands::sequence(bytes);
    if let Err(mismatch) = model::check_sequence(&Engine::new(), &commands) {
        panic!("{mismatch}");
    }
});

/// An engine in a directory of its own, in memory where there is such a file system.
struct Engine {
    dir: TempDir,
    open: Mutex<Option<(Broker, ManualClock)>>,
}

impl Engine {
    fn new() -> Self {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        Self { dir: dir.expect("a temporary directory"), open: Mutex::new(None) }
    }

    async fn start(&self, clock: ManualClock) -> Broker {
        let options = Options {
            segment_bytes: 16 << 10,
            payload_memory_bytes: 0,
            durability: Durability::Never,
            clock: Arc::new(clock.clone()),
            ..Options::new(self.dir.path())
        };
        let broker = tidegate_engine::open(options).await.expect("the engine opens");
        *self.open.lock().expect("a lock") = Some((broker.clone(), clock));
        broker
    }
}

#[async_trait]
impl Subject for Engine {
    async fn open(&self, clock: ManualClock) -> Broker {
        self.start(clock).await
    }

    async fn restart(&self) -> Option<Broker> {
        let (broker, clock) = self.open.lock().expect("a lock").take()?;
        broker.close().await.expect("the engine closes");
        Some(self.start(clock).await)
    }
}
