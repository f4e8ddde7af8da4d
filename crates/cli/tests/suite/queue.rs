use serde_json::json;

use crate::shell::{Shell, names};

#[test]
fn what_create_is_told_show_tells() {
    let shell = Shell::new();
    let created = [
        "queue",
        "create",
        "q",
        "--ordering",
        "key",
        "--router",
        "consistent",
        "--partitions",
        "16",
        "--capacity",
        "unbounded",
        "--lease",
        "1m30s",
        "--max-attempts",
        "7",
        "--dlq",
        "q.dead",
    ];
    shell.run(&created).ok();
    let shown = shell.json(&["queue", "show", "q"]);
    assert_eq!(shown["ordering"], "key");
    assert_eq!(shown["router"], "consistent");
    assert_eq!(shown["partitions"], 16);
    assert_eq!(shown["capacity"], json!(null));
    assert_eq!(shown["lease_ms"], 90_000);
    assert_eq!(shown["max_attempts"], 7);
    assert_eq!(shown["dead_letter_queue"], "q.dead");
    assert_eq!(
        names(&shown["stats"]),
        ["dead", "leased", "oldest_ready_ms", "paused", "ready", "scheduled"]
    );
    shell.run(&created).ok();
    shell.run(&["queue", "create", "q"]).fails(1, &["ordering", "tidegate queue show q"]);
    shell.run(&["queue", "create", "q", "--partitions", "0"]).fails(2, &["partition"]);
    shell.run(&["queue", "create", "a/b"]).fails(2, &["'/'"]);
}

#[test]
fn list_shows_every_queue_for_people_and_programs() {
    let shell = Shell::new();
    shell.run(&["send", "a", "x"]).ok();
    shell.run(&["queue", "create", "b", "--ordering", "key"]).ok();
    let listed = shell.run(&["queue", "list"]).ok().stdout;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("QUEUE  READY  SCHEDULED  LEASED  DEAD"), "{listed}");
    assert!(lines[1].starts_with("a          1"), "{listed}");
    assert!(lines[2].ends_with("10,000  ordered"), "{listed}");
    let json = shell.json(&["queue", "list"]);
    assert_eq!((&json[0]["name"], &json[0]["stats"]["ready"]), (&json!("a"), &json!(1)));
}

#[test]
fn a_paused_queue_hands_nothing_out_until_it_is_resumed() {
    let shell = Shell::new();
    shell.run(&["send", "q", "x"]).ok();
    assert_eq!(shell.json(&["queue", "pause", "q"]), json!({ "queue": "q", "paused": true }));
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["paused"], true);
    shell.run(&["queue", "resume", "q"]).ok();
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["paused"], false);
}

#[test]
fn what_destroys_needs_yes_where_there_is_no_terminal() {
    let shell = Shell::new();
    shell.run(&["send", "q", "x"]).ok();
    for command in [["queue", "purge", "q"], ["queue", "delete", "q"], ["dlq", "purge", "q"]] {
        shell.run(&command).fails(2, &["no terminal", "--yes"]);
    }
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["ready"], 1);
    assert_eq!(shell.json(&["queue", "purge", "q", "--yes"])["purged"], 1);
    assert_eq!(shell.json(&["queue", "delete", "q", "--yes"])["deleted"], true);
    shell.run(&["queue", "show", "q"]).fails(3, &["no such queue"]);
}

#[test]
fn the_configuration_is_the_default_of_every_queue() {
    let shell = Shell::new();
    shell.write(
        "tidegate.yaml",
        "queue:\n  max_buffer_size: 7\n  lease: 12s\nretry_policy:\n  max_attempts: 3\n\
         dead_letter_queue:\n  routing_key: all.dead\n  retention_days: 2\n",
    );
    shell.run(&["send", "q", "x"]).ok();
    let shown = shell.json(&["queue", "show", "q"]);
    assert_eq!((&shown["capacity"], &shown["lease_ms"]), (&json!(7), &json!(12_000)));
    assert_eq!(
        (&shown["max_attempts"], &shown["dead_letter_queue"]),
        (&json!(3), &json!("all.dead"))
    );
    assert_eq!(shown["dead_retention_ms"], 2 * 86_400_000);
}

#[test]
fn tasks_are_listed_a_page_at_a_time() {
    let shell = Shell::new();
    shell.run_with(&["send", "q", "-"], "a\nb\nc\n").ok();
    let first = shell.json(&["task", "list", "q", "--limit", "2"]);
    assert_eq!((&first[0]["payload"], &first[1]["payload"]), (&json!("a"), &json!("b")));
    let after = first[1]["sequence"].to_string();
    let rest = shell.json(&["task", "list", "q", "--after", &after]);
    assert_eq!((rest.as_array().unwrap().len(), &rest[0]["payload"]), (1, &json!("c")));
    let shown = shell.run(&["task", "show", "q", first[0]["id"].as_str().unwrap()]).ok().stdout;
    assert!(shown.contains("state         ready") && shown.ends_with("\na\n"), "{shown}");
    let missing = ["task", "show", "q", "018f3a5e-7c1b-7d2e-9f00-1234567890ab"];
    shell.run(&missing).fails(3, &["no task 018f3a5e"]);
    shell.run(&["task", "show", "q", "42"]).fails(2, &["not a task id"]);
}
