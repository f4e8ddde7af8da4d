//! Whether the suite bites: it is run against a broker with each fault and must catch each.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate_core::{Broker, ManualClock, memory};

use crate::cases;
use crate::faults::{Fault, RestartFault, Restarting, inject};
use crate::harness::{Deviation, Harness, Stage, advance};
use crate::memory::MemoryStage;
use crate::runner::{GUARD, Outcome, run_case};

/// Real time after which a case on a faulty broker counts as hanging, which is caught too.
const FAULTY_GUARD: Duration = Duration::from_secs(3);

/// Each fault with the cases that caught it. One with none is a hole in the suite. Must be called
/// within a tokio runtime.
pub async fn run() -> Vec<(Fault, Vec<&'static str>)> {
    let mut caught = Vec::new();
    for fault in Fault::ALL {
        caught.push((*fault, caught_by(Some(*fault)).await));
    }
    caught
}

/// The cases that fail on the memory broker with `fault`, or without any.
pub async fn caught_by(fault: Option<Fault>) -> Vec<&'static str> {
    let guard = fault.map_or(GUARD, |_| FAULTY_GUARD);
    failures(Arc::new(FaultyMemory { fault }), "", guard).await
}

/// Each fault of a restart with the cases that caught it, and what fails on a sound restart under
/// `None`. Must be called within a tokio runtime.
pub async fn run_restarts() -> Vec<(Option<RestartFault>, Vec<&'static str>)> {
    let mut caught = Vec::new();
    for fault in std::iter::once(None).chain(RestartFault::ALL.iter().copied().map(Some)) {
        let harness = Arc::new(RestartingMemory { fault });
        caught.push((fault, failures(harness, "durability::", GUARD).await));
    }
    caught
}

async fn failures(harness: Arc<dyn Harness>, filter: &str, guard: Duration) -> Vec<&'static str> {
    let mut running = Vec::new();
    for case in cases::all().into_iter().filter(|case| case.name.contains(filter)) {
        let harness = harness.clone();
        let outcome = tokio::spawn(async move { run_case(&*harness, &case, guard).await });
        running.push((case.name, outcome));
    }
    let mut caught = Vec::new();
    for (name, outcome) in running {
        if !matches!(outcome.await, Ok(Outcome::Passed | Outcome::Refused)) {
            caught.push(name);
        }
    }
    caught
}

struct FaultyMemory {
    fault: Option<Fault>,
}

#[async_trait]
impl Harness for FaultyMemory {
    fn name(&self) -> &'static str {
        "faulty memory"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let clock = ManualClock::new();
        let sound = memory::broker(Arc::new(clock.clone()));
        let broker = match self.fault {
            Some(fault) => inject(&sound, fault),
            None => sound,
        };
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

struct RestartingMemory {
    fault: Option<RestartFault>,
}

#[async_trait]
impl Harness for RestartingMemory {
    fn name(&self) -> &'static str {
        "restarting memory"
    }

    async fn stage(&self) -> Option<Box<dyn Stage>> {
        let clock = ManualClock::new();
        let restarting = Restarting::new(clock.clone(), self.fault);
        Some(Box::new(RestartingStage { restarting, clock }))
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

struct RestartingStage {
    restarting: Restarting,
    clock: ManualClock,
}

#[async_trait]
impl Stage for RestartingStage {
    fn broker(&self) -> Broker {
        self.restarting.broker()
    }

    async fn let_time_pass(&self, by: Duration) {
        advance(&self.clock, by).await;
    }

    fn time_stands_still(&self) -> bool {
        true
    }

    async fn restart(&self) -> Option<Broker> {
        self.restarting.restart().await.ok()
    }
}
