use std::io::{BufRead, BufReader};

use serde_json::json;

use crate::shell::{Answer, Shell};

#[test]
fn a_directory_that_another_process_holds_is_reached_through_it() {
    let shell = Shell::new();
    // WHY: `work` comes first here and makes the queue; elsewhere `send` does.
    let script = "cat; echo; while test ! -e stop; do sleep 0.02; done";
    let work = ["work", "q", "--concurrency", "1", "--", "sh", "-c", script];
    let mut holder = shell.command(&work).spawn().unwrap();
    let mut stderr = BufReader::new(holder.stderr.take().unwrap()).lines();
    assert!(stderr.next().unwrap().unwrap().contains("made the queue \"q\""));
    shell.run(&["send", "q", "first"]).ok();
    let mut stdout = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(stdout.next().unwrap().unwrap(), "first");
    shell.run(&["send", "q", "second"]).ok();
    let shown = &shell.json(&["queue", "show", "q"])["stats"];
    assert_eq!((&shown["leased"], &shown["ready"]), (&json!(1), &json!(1)), "{shown}");
    let kill = std::process::Command::new("kill").arg(holder.id().to_string()).status().unwrap();
    assert!(kill.success());
    shell.write("stop", "");
    assert!(holder.wait().unwrap().success());
    let left = shell.run(&["work", "q", "--until-empty", "--", "cat"]).ok();
    assert_eq!(left.stdout.lines().next(), Some("second"));
}

#[test]
fn memory_is_refused_where_nobody_could_see_what_was_done() {
    let shell = Shell::new();
    for command in [&["send", "q", "x"][..], &["queue", "list"], &["work", "q", "--", "true"]] {
        let mut all = vec!["--broker", "memory:"];
        all.extend(command);
        shell.run(&all).fails(2, &["lives and dies with one process", "embedded:PATH"]);
    }
}

#[test]
fn a_broker_without_an_adapter_is_refused_by_name_and_its_password_stays_secret() {
    let shell = Shell::new();
    let refused = shell.run(&["--broker", "kafka://me:hunter2@host/", "send", "q", "x"]);
    refused.fails(2, &["no adapter for Kafka", "`kafka_broker` is not built yet"]);
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let shell = Shell::new();
    let made = |name: &str| shell.path().join(name).is_dir();
    shell.run(&["send", "q", "x"]).ok();
    assert!(made("tidegate-data"));
    shell.write("tidegate.yaml", "broker: \"embedded:./by-file\"\n");
    shell.run(&["send", "q", "x"]).ok();
    assert!(made("by-file"));
    let by_environment = |arguments: &[&str]| {
        let mut command = shell.command(arguments);
        Answer::of(&command.env("TIDEGATE_BROKER", "embedded:./by-environment").output().unwrap())
            .ok()
    };
    by_environment(&["send", "q", "x"]);
    assert!(made("by-environment"));
    by_environment(&["send", "q", "x", "--broker", "embedded:./by-flag"]);
    assert!(made("by-flag"));
    shell
        .run(&["queue", "list", "--broker", "embedded:a", "--broker", "embedded:b"])
        .fails(2, &["bench"]);
}

#[test]
fn a_command_that_only_looks_makes_no_directory() {
    let shell = Shell::new();
    shell.run(&["queue", "list"]).fails(3, &["./tidegate-data", "does not exist"]);
    assert!(!shell.path().join("tidegate-data").exists());
}

#[test]
fn completions_are_printed_for_every_shell() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.run(&["completions", name]).ok().stdout;
        assert!(script.contains("tidegate") && script.contains("redrive"), "{name}");
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let shell = Shell::new();
    let commands = [
        "demo",
        "send",
        "work",
        "queue create",
        "queue list",
        "queue show",
        "queue pause",
        "queue resume",
        "queue purge",
        "queue delete",
        "task list",
        "task show",
        "dlq list",
        "dlq show",
        "dlq redrive",
        "dlq purge",
        "bench",
        "config check",
        "completions",
    ];
    for command in commands {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        let help = shell.run(&arguments).ok().stdout;
        assert!(help.contains("Example") && help.contains("tidegate "), "{command}: {help}");
    }
    let first = shell.run(&["--help"]).ok().stdout;
    assert!(first.contains("Exit codes:") && !first.contains("demo-child"), "{first}");
    shell.run(&[]).fails(2, &["Usage"]);
}
