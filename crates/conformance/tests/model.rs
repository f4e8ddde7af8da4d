//! The model test agrees with itself, and sees what is broken.

use std::sync::OnceLock;

use async_trait::async_trait;
use tidegate_conformance::faults::{Fault, inject};
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

/// The memory broker, "opened again" as it is: its leases get no time for the restart.
#[derive(Default)]
struct Forgetful(OnceLock<Broker>);

#[async_trait]
impl Subject for Forgetful {
    async fn open(&self, clock: ManualClock) -> Broker {
        let broker = MemorySubject.open(clock).await;
        self.0.get_or_init(|| broker).clone()
    }

    async fn restart(&self) -> Option<Broker> {
        self.0.get().cloned()
    }
}

#[test]
fn a_restart_that_gives_leases_no_full_length_is_found() {
    let mismatch = model::check(Forgetful::default, 2_000, Some(3)).unwrap_err();
    println!("{mismatch}");
    assert!(mismatch.to_string().contains("Restart"), "{mismatch}");
}

#[test]
fn a_seed_leads_to_the_same_sequence_again() {
    let run = || model::check(|| Faulty(Fault::DeliveriesNotCounted), 500, Some(11));
    assert_eq!(run().unwrap_err(), run().unwrap_err());
}
