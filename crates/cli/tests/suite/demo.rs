use serde_json::json;

use crate::shell::Shell;

#[test]
fn the_account_balances_to_the_flight() {
    let shell = Shell::new();
    let told = shell.json(&["demo", "--dir", "kept"]);
    assert_eq!(told["balances"], true, "{told:#}");
    let account = &told["account"];
    for (name, number) in [
        ("input", 2_699),
        ("sent", 2_699),
        ("completed", 2_677),
        ("with_delay", 2_659),
        ("unknown", 18),
        ("dead", 22),
        ("lost", 0),
        ("left", 0),
        ("stale_accepted", 0),
        ("aircraft", 1_351),
        ("aircraft_out_of_order", 0),
    ] {
        assert_eq!(account[name], json!(number), "{name} in {told:#}");
    }
    for name in ["retried", "waited_for_room", "redelivered_after_the_kill", "stale_presented"] {
        assert!(account[name].as_u64().is_some_and(|number| number > 0), "{name} in {told:#}");
    }
    let dead = shell.json(&["dlq", "list", "flights", "--broker", "embedded:./kept/queue"]);
    assert_eq!(dead.as_array().unwrap().len(), 22);
    let again = shell.run(&["demo", "--dir", "kept"]);
    again.fails(2, &["not empty"]);
}

#[test]
fn a_temporary_directory_is_named_and_removed() {
    let shell = Shell::new();
    let told = shell.run(&["demo", "--seed", "7"]).ok();
    assert!(told.stdout.contains("The account balances."), "{told:?}");
    let (_, after) = told.stdout.split_once("The data was in ").unwrap();
    let path = after.split(' ').next().unwrap();
    assert!(!std::path::Path::new(path).exists(), "{path}");
    assert!(told.stderr.contains("with SIGKILL after"), "{told:?}");
}

#[test]
fn in_memory_nobody_is_killed_and_the_account_balances() {
    let shell = Shell::new();
    let told = shell.json(&["demo", "--broker", "memory:"]);
    assert_eq!(told["balances"], true, "{told:#}");
    let account = &told["account"];
    for (name, number) in [("completed", 2_677), ("dead", 22), ("lost", 0)] {
        assert_eq!(account[name], json!(number), "{name} in {told:#}");
    }
    assert_eq!(account["killed_after_ms"], json!(null));
}

#[test]
fn the_demo_runs_on_no_other_broker() {
    let shell = Shell::new();
    shell.run(&["demo", "--broker", "embedded:./x"]).fails(2, &["makes one of its own"]);
}
