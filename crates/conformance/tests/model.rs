//! The model test agrees with itself, and sees what is broken.

use std::sync::OnceLock;

use async_trait::async_trait;
use tidegate_conformance::faults::{Fault, RestartFault, Restarting, inject};
use tidegate_conformance::model::{self, Command, MemorySubject, Subject};
use tidegate_core::{Broker, ManualClock};

#[test]
fn the_memory_broker_equals_itself() {
    model::check(|| MemorySubject, 300, None).unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

struct Faulty(Fault);

#[async_trait]
impl Subject for Faulty {
    async fn open(&self, clock: ManualClock) -> Broker {
        inject(&MemorySubject.open(clock).await, self.0)
    }

    async fn restart(&self) -> Option<Broker> {
        None
    }
}

#[test]
fn a_fault_is_found_and_shrunk_to_a_few_commands() {
    for fault in [
        Fault::DelayIgnored,
        Fault::PriorityIgnored,
        Fault::DedupOverreaches,
        Fault::RetryDelayIgnored,
        Fault::StatsWrong,
        Fault::ExtendTooLong,
        Fault::RedriveTakesAll,
        Fault::StepEnqueuesOnStale,
    ] {
        let found = model::check(|| Faulty(fault), 2_000, Some(7));
        let mismatch = found.expect_err(&format!("{fault:?} was not found"));
        println!("{fault:?}: {mismatch}\n");
        assert!(mismatch.steps.len() <= 12, "{fault:?} was not shrunk: {mismatch}");
        assert!(mismatch.steps.iter().all(|(command, _)| *command != Command::Restart));
    }
}

/// A broker that plays restarts, soundly or with a fault.
struct Restarted {
    fault: Option<RestartFault>,
    broker: OnceLock<Restarting>,
}

impl Restarted {
    fn with(fault: Option<RestartFault>) -> Self {
        Self { fault, broker: OnceLock::new() }
    }
}

#[async_trait]
impl Subject for Restarted {
    async fn open(&self, clock: ManualClock) -> Broker {
        self.broker.get_or_init(|| Restarting::new(clock, self.fault)).broker()
    }

    async fn restart(&self) -> Option<Broker> {
        self.broker.get()?.restart().await.ok()
    }
}

#[test]
fn a_sound_restart_is_equal_to_leases_getting_their_full_length() {
    let sound = || Restarted::with(None);
    model::check(sound, 300, None).unwrap_or_else(|mismatch| panic!("{mismatch}"));
}

#[test]
fn a_fault_of_a_restart_is_found() {
    for fault in [
        RestartFault::ClientLeasesGetNothing,
        RestartFault::ClientLeasesEnd,
        RestartFault::PausesForgotten,
        RestartFault::KeysForgotten,
    ] {
        let mismatch = model::check(|| Restarted::with(Some(fault)), 3_000, Some(3)).unwrap_err();
        println!("{fault:?}: {mismatch}");
        assert!(mismatch.to_string().contains("Restart"), "{fault:?}: {mismatch}");
    }
}

#[test]
fn a_seed_leads_to_the_same_sequence_again() {
    let run = || model::check(|| Faulty(Fault::DeliveriesNotCounted), 500, Some(11));
    assert_eq!(run().unwrap_err(), run().unwrap_err());
}
