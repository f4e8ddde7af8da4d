//! The broker that the model test compares with the memory broker.

use std::sync::Arc;

use async_trait::async_trait;
use tidegate_core::{Broker, ManualClock, memory};

/// A broker under test, opened by the model test. One subject lives through one sequence of
/// commands.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the broker on fresh, empty data, going by `clock`. Called once, first.
    async fn open(&self, clock: ManualClock) -> Broker;

    /// Ends the broker as a kill would and opens it again on the same data and the same clock.
    /// Sessions from before are gone, their leases go on for one full length: the model test opens
    /// every session with [`tidegate_core::Holder::Client`]. `None` if this kind cannot.
    async fn restart(&self) -> Option<Broker>;
}

/// The memory broker itself, which the model test must find equal to itself.
#[derive(Clone, Copy, Debug)]
pub struct MemorySubject;

#[async_trait]
impl Subject for MemorySubject {
    async fn open(&self, clock: ManualClock) -> Broker {
        memory::broker(Arc::new(clock))
    }

    async fn restart(&self) -> Option<Broker> {
        None
    }
}
