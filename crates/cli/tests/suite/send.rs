use serde_json::json;

use crate::shell::Shell;

#[test]
fn a_missing_queue_is_made_and_said_so_and_the_kind_is_its_name() {
    let shell = Shell::new();
    let sent = shell.run(&["send", "mail", "hello"]).ok();
    assert!(sent.stderr.contains("made the queue \"mail\" (capacity 10,000"), "{sent:?}");
    assert!(sent.stderr.contains("sent 1 task to \"mail\""), "{sent:?}");
    assert_eq!(sent.stdout, "");
    let tasks = shell.json(&["task", "list", "mail"]);
    assert_eq!((&tasks[0]["kind"], &tasks[0]["payload"]), (&json!("mail"), &json!("hello")));
    let again = shell.run(&["send", "mail", "x", "--kind", "mail.reminder", "--delay", "1h"]).ok();
    assert!(!again.stderr.contains("made"), "{again:?}");
    let scheduled = shell.json(&["task", "list", "mail", "--state", "scheduled"]);
    assert_eq!(scheduled.as_array().unwrap().len(), 1);
    assert_eq!(scheduled[0]["kind"], "mail.reminder");
}

#[test]
fn a_body_is_one_task_whatever_lines_it_has() {
    let shell = Shell::new();
    shell.run(&["send", "q", "one\ntwo\n"]).ok();
    let tasks = shell.json(&["task", "list", "q"]);
    assert_eq!(tasks.as_array().unwrap().len(), 1);
    assert_eq!(tasks[0]["payload"], "one\ntwo\n");
}

#[test]
fn a_line_without_the_key_is_sent_without_a_key_and_counted() {
    let shell = Shell::new();
    shell.run(&["queue", "create", "q", "--ordering", "key"]).ok();
    shell.write("in.jsonl", "{\"k\":\"a\"}\n\n{\"x\":1}\n{\"k\":null}\n{\"k\":7}\r\n");
    let sent = shell.json(&["send", "q", "--from", "in.jsonl", "--key", "k"]);
    assert_eq!(
        (&sent["sent"], &sent["without_key"], &sent["empty_lines"], &sent["created_queue"]),
        (&json!(4), &json!(2), &json!(1), &json!(false))
    );
    let tasks = shell.json(&["task", "list", "q"]);
    let keys: Vec<_> =
        tasks.as_array().unwrap().iter().map(|t| t["ordering_key"].clone()).collect();
    assert_eq!(keys, [json!("a"), json!(null), json!(null), json!("7")]);
    assert_eq!(tasks[3]["payload"], "{\"k\":7}");
}

#[test]
fn bad_json_names_its_line_and_what_stood_before_it_is_sent() {
    let shell = Shell::new();
    let input = "{\"k\":1}\n{\"k\":2}\nnonsense\n{\"k\":3}\n";
    let sent = shell.run_with(&["send", "q", "-", "--key", "k"], input);
    sent.fails(1, &["stdin, line 3", "not a JSON object", "sent 2 tasks"]);
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["ready"], 2);
}

#[test]
fn a_dedup_key_keeps_a_second_task_out() {
    let shell = Shell::new();
    let input = "{\"id\":1}\n{\"id\":1}\n{\"id\":2}\n{}\n";
    let sent = shell.run_with(&["--json", "send", "q", "-", "--dedup", "id"], input).ok().json();
    assert_eq!(
        (&sent["sent"], &sent["deduplicated"], &sent["without_dedup_key"]),
        (&json!(3), &json!(1), &json!(1))
    );
    let again = shell.run_with(&["send", "q", "-", "--dedup", "id"], "{\"id\":2}\n").ok();
    assert!(again.stderr.contains("sent 0 tasks to \"q\" (1 already there)"), "{again:?}");
}

#[test]
fn a_full_queue_stops_the_send_and_says_how_many_went_in() {
    let shell = Shell::new();
    shell.run(&["queue", "create", "q", "--capacity", "2"]).ok();
    let sent = shell.run_with(&["send", "q", "-"], "a\nb\nc\nd\n");
    sent.fails(4, &["line 3", "sent 2 tasks", "2 refused", "--wait"]);
    let started = std::time::Instant::now();
    let waited = shell.run(&["send", "q", "e", "--wait", "--wait-timeout", "300ms"]);
    waited.fails(4, &["--wait-timeout"]);
    assert!(started.elapsed().as_millis() >= 300, "it did not wait");
    assert_eq!(shell.json(&["queue", "show", "q"])["stats"]["ready"], 2);
}

#[test]
fn a_payload_above_the_limit_is_refused_with_its_line() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "serialization:\n  max_message_bytes: 10\n");
    let sent = shell.run_with(&["send", "q", "-"], "short\nmuch longer than that\n");
    sent.fails(2, &["line 2", "sent 1 task", "10"]);
}

#[test]
fn json_of_a_single_task_has_its_id() {
    let shell = Shell::new();
    let sent = shell.json(&["send", "q", "x"]);
    let id = sent["id"].as_str().unwrap();
    assert_eq!(shell.json(&["task", "show", "q", id])["id"], id);
    assert_eq!(
        crate::shell::names(&sent),
        [
            "created_queue",
            "deduplicated",
            "elapsed_ms",
            "empty_lines",
            "id",
            "queue",
            "refused",
            "sent",
            "without_dedup_key",
            "without_key"
        ]
    );
}

#[test]
fn a_file_that_is_missing_is_an_error_before_anything_is_made() {
    let shell = Shell::new();
    shell.run(&["send", "q", "--from", "missing.jsonl"]).fails(2, &["missing.jsonl"]);
    shell.run(&["send", "q"]).fails(2, &["--from"]);
    assert_eq!(shell.json(&["queue", "list"]), json!([]));
}
