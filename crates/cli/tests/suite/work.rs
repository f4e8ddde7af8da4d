use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::shell::{Answer, Shell, names};

/// Runs a script on every task of `q` until it is empty.
fn work(shell: &Shell, script: &str) -> Answer {
    shell.run(&["--json", "work", "q", "--until-empty", "--", "sh", "-c", script])
}

fn queue_of_one(attempts: &str) -> Shell {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "retry_policy:\n  initial_delay: 1ms\n");
    shell.run(&["queue", "create", "q", "--max-attempts", attempts]).ok();
    shell.run(&["send", "q", "the payload", "--kind", "test.kind"]).ok();
    shell
}

fn counts(answer: &Value) -> [&Value; 3] {
    [&answer["completed"], &answer["retried"], &answer["dead"]]
}

#[test]
fn exit_0_completes_and_the_program_gets_payload_and_attributes() {
    let shell = queue_of_one("3");
    let script = "cat > payload; env | grep ^TIDEGATE_TASK_ | sort > attributes";
    let worked = work(&shell, script).ok().json();
    assert_eq!(counts(&worked), [&json!(1), &json!(0), &json!(0)]);
    assert_eq!(
        names(&worked),
        [
            "completed",
            "dead",
            "elapsed_ms",
            "failed_unacknowledged",
            "lost",
            "queue",
            "received",
            "released",
            "retried"
        ]
    );
    let read = |name: &str| std::fs::read_to_string(shell.path().join(name)).unwrap();
    assert_eq!(read("payload"), "the payload");
    let attributes = read("attributes");
    for expected in [
        "TIDEGATE_TASK_ATTEMPT=1",
        "TIDEGATE_TASK_DELIVERIES=1",
        "TIDEGATE_TASK_ENQUEUED_AT=20",
        "TIDEGATE_TASK_ID=",
        "TIDEGATE_TASK_KIND=test.kind",
        "TIDEGATE_TASK_PARTITION=0",
        "TIDEGATE_TASK_QUEUE=q",
        "TIDEGATE_TASK_SEQUENCE=1",
    ] {
        assert!(attributes.contains(expected), "{expected} is not in {attributes}");
    }
}

#[test]
fn exit_75_and_other_failures_are_tried_again_and_stderr_is_the_error() {
    for (code, told) in
        [("75", "exit code 75 (EX_TEMPFAIL): not now"), ("3", "exit code 3: not now")]
    {
        let shell = queue_of_one("2");
        let worked = work(&shell, &format!("echo not now >&2; exit {code}"));
        assert_eq!(counts(&worked.ok().json()), [&json!(0), &json!(1), &json!(1)]);
        let dead = shell.json(&["dlq", "list", "q"]);
        assert_eq!(dead[0]["dead_letter"]["reason"], "attempts exhausted");
        assert_eq!(dead[0]["dead_letter"]["error"], told);
        assert_eq!(dead[0]["dead_letter"]["attempts"], 2);
    }
}

#[test]
fn exit_65_is_a_dead_letter_at_once() {
    let shell = queue_of_one("5");
    let worked = work(&shell, "echo no such user >&2; exit 65").ok().json();
    assert_eq!(counts(&worked), [&json!(0), &json!(0), &json!(1)]);
    let dead = shell.json(&["dlq", "list", "q"]);
    assert_eq!(dead[0]["dead_letter"]["reason"], "exit code 65 (EX_DATAERR): no such user");
    assert_eq!(dead[0]["deliveries"], 1);
}

#[test]
fn death_by_a_signal_counts_as_a_crash_and_is_tried_again() {
    let shell = queue_of_one("2");
    let script = "test $TIDEGATE_TASK_ATTEMPT = 2 && exit 0; kill -9 $$";
    let worked = work(&shell, script);
    assert!(worked.stderr.contains("attempt 1 failed: killed by signal 9"), "{worked:?}");
    assert_eq!(counts(&worked.ok().json()), [&json!(1), &json!(1), &json!(0)]);
}

#[test]
fn a_header_and_a_key_reach_the_program() {
    let shell = Shell::new();
    shell.run(&["queue", "create", "q", "--ordering", "key", "--partitions", "8"]).ok();
    shell.run_with(&["send", "q", "-", "--key", "k"], "{\"k\":\"a b\"}\n").ok();
    work(&shell, "printf '%s' \"$TIDEGATE_TASK_KEY/$TIDEGATE_TASK_PARTITION\" > key").ok();
    let key = std::fs::read_to_string(shell.path().join("key")).unwrap();
    assert!(key.starts_with("a b/"), "{key}");
}

#[test]
fn until_empty_waits_for_what_is_scheduled() {
    let shell = Shell::new();
    shell.run(&["send", "q", "later", "--delay", "400ms"]).ok();
    let worked = work(&shell, "true").ok().json();
    assert_eq!(worked["completed"], 1);
}

#[test]
fn tasks_of_one_key_run_in_order_and_a_failed_one_blocks_its_key_alone() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "retry_policy:\n  initial_delay: 1ms\n");
    shell.run(&["queue", "create", "q", "--ordering", "key"]).ok();
    let input = "{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":2}\n{\"k\":\"b\",\"n\":3}\n";
    shell.run_with(&["send", "q", "-", "--key", "k"], input).ok();
    let script = "cat >> log.$TIDEGATE_TASK_KEY; echo >> log.$TIDEGATE_TASK_KEY
                  test $TIDEGATE_TASK_SEQUENCE$TIDEGATE_TASK_ATTEMPT != 11";
    work(&shell, script).ok();
    let log = std::fs::read_to_string(shell.path().join("log.a")).unwrap();
    let order: Vec<&str> =
        log.lines().map(|line| if line.contains(":1}") { "1" } else { "2" }).collect();
    assert_eq!(order, ["1", "1", "2"]);
}

#[test]
fn sigterm_ends_it_gracefully_and_the_program_gets_sigterm_and_the_task_goes_back() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "queue:\n  graceful_shutdown_timeout: 100ms\n");
    shell.run(&["send", "q", "x"]).ok();
    let script = "trap 'echo told >&2; exit 143' TERM; echo begun; while :; do sleep 0.02; done";
    let mut working = shell
        .command(&["work", "q", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(working.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    let kill = std::process::Command::new("kill").arg(working.id().to_string()).status().unwrap();
    assert!(kill.success());
    let answer = Answer::of(&working.wait_with_output().unwrap()).ok();
    assert!(answer.stderr.contains("told"), "{answer:?}");
    assert!(answer.stderr.contains(": given back"), "{answer:?}");
    let tasks = shell.json(&["task", "list", "q"]);
    assert_eq!((&tasks[0]["state"], &tasks[0]["attempt"]), (&json!("ready"), &json!(0)));
}

/// Whether a process runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_that_does_not_heed_sigterm_is_killed_with_its_children() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "queue:\n  graceful_shutdown_timeout: 100ms\n");
    shell.run(&["send", "q", "x"]).ok();
    let script = "trap '' TERM; sleep 60 > /dev/null 2>&1 & echo $!; wait";
    let mut working = shell.command(&["work", "q", "--", "sh", "-c", script]).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(working.stdout.as_mut().unwrap()).read_line(&mut pid).unwrap();
    let pid = pid.trim();
    assert!(runs(pid));
    let kill = std::process::Command::new("kill").arg(working.id().to_string()).status().unwrap();
    assert!(kill.success());
    Answer::of(&working.wait_with_output().unwrap()).ok();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while runs(pid) {
        assert!(std::time::Instant::now() < deadline, "process {pid} was left behind");
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_cannot_be_started_is_no_fault_of_the_task() {
    let shell = queue_of_one("2");
    let worked = shell.run(&["work", "q", "--until-empty", "--", "./no-such-program"]);
    worked.fails(1, &["./no-such-program could not be started", "unharmed"]);
    let tasks = shell.json(&["task", "list", "q"]);
    assert_eq!((&tasks[0]["state"], &tasks[0]["attempt"]), (&json!("ready"), &json!(0)));
}

#[test]
fn a_program_that_leaves_something_behind_does_not_hold_up_its_task() {
    let shell = queue_of_one("2");
    let worked = work(&shell, "sleep 30 > /dev/null & exit 0");
    let elapsed = worked.ok().json()["elapsed_ms"].as_u64().unwrap();
    assert!(elapsed < 10_000, "{elapsed} ms");
}

#[test]
fn a_missing_queue_is_made_by_a_worker_who_says_so() {
    let shell = Shell::new();
    let worked = shell.run(&["work", "q", "--until-empty", "--", "true"]).ok();
    assert!(worked.stderr.contains("made the queue \"q\""), "{worked:?}");
    let again = shell.run(&["work", "q", "--until-empty", "--", "true"]).ok();
    assert!(!again.stderr.contains("made the queue"), "{again:?}");
}

#[test]
fn ack_mode_auto_completes_on_receipt() {
    let shell = queue_of_one("2");
    shell.write("tidegate.yaml", "queue:\n  ack_mode: auto\n");
    let worked = work(&shell, "exit 1").ok().json();
    assert_eq!(counts(&worked), [&json!(0), &json!(0), &json!(0)]);
    assert_eq!(worked["failed_unacknowledged"], 1);
    assert_eq!(shell.json(&["task", "list", "q"]), json!([]));
}
