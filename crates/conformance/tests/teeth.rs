//! The suite catches every fault.

use tidegate_conformance::teeth;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_caught_by_a_case() {
    let caught = teeth::run().await;
    for (fault, cases) in &caught {
        println!("{fault:?}: {}", cases.join(", "));
    }
    let missed: Vec<_> = caught.iter().filter(|(_, cases)| cases.is_empty()).collect();
    assert!(missed.is_empty(), "faults that no case caught: {missed:?}");
    assert!(caught.len() >= 20, "{} faults", caught.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_broker_is_caught_by_no_case() {
    assert_eq!(teeth::caught_by(None).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_restart_is_caught_and_a_sound_one_is_not() {
    for (fault, cases) in teeth::run_restarts().await {
        println!("{fault:?}: {}", cases.join(", "));
        assert_eq!(fault.is_some(), !cases.is_empty(), "{fault:?}: {cases:?}");
    }
}
