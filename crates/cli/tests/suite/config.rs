use serde_json::json;

use crate::shell::{Answer, Shell};

const DOCUMENTED: &str = include_str!("../../src/config/documented.yaml");

#[test]
fn the_documented_configuration_is_sound_and_what_is_not_built_is_listed() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", DOCUMENTED);
    let text = shell.run(&["config", "check"]).ok().stdout;
    for expected in [
        "tidegate.yaml is sound",
        "broker: embedded:./tidegate-data",
        "queue: active",
        "  queue.max_buffer_size = 10000  (tidegate.yaml:2:20)",
        "redis_queue: active",
        "kafka_broker: not yet built",
        "serialization: active in part",
        "dead_letter_queue: active",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let json = shell.json(&["config", "check", "tidegate.yaml"]);
    assert_eq!(
        (&json["file"], &json["blocks"][1]["block"]),
        (&json!("tidegate.yaml"), &json!("queue"))
    );
    assert_eq!(json["blocks"][1]["status"], "active");
    assert_eq!(json["blocks"][2]["status"], "active");
    assert_eq!(json["blocks"][3]["status"], "not-built-yet");
}

#[test]
fn a_mistake_is_shown_with_file_line_column_and_the_nearest_key() {
    let shell = Shell::new();
    shell.write("bad.yaml", "queue:\n  max_bufer_size: 10\n");
    for command in
        [&["config", "check", "bad.yaml"][..], &["--config", "bad.yaml", "send", "q", "x"]]
    {
        let refused = shell.run(command);
        refused.fails(
            2,
            &["bad.yaml:2:3", "unknown key `queue.max_bufer_size`", "queue.max_buffer_size"],
        );
    }
    assert!(!shell.path().join("tidegate-data").exists());
    shell.run(&["config", "check", "missing.yaml"]).fails(2, &["missing.yaml", "cannot be read"]);
}

#[test]
fn a_variable_goes_before_the_file_and_a_mistaken_one_is_named() {
    let shell = Shell::new();
    shell.write("tidegate.yaml", "queue:\n  lease: 10s\n");
    let with = |name: &str, value: &str| {
        Answer::of(&shell.command(&["config", "check"]).env(name, value).output().unwrap())
    };
    let told = with("TIDEGATE_QUEUE__LEASE", "20s").ok().stdout;
    assert!(told.contains("queue.lease = 20 s  (TIDEGATE_QUEUE__LEASE)"), "{told}");
    let wrong = with("TIDEGATE_QUEUE__LEESE", "20s");
    wrong.fails(2, &["TIDEGATE_QUEUE__LEESE", "TIDEGATE_QUEUE__LEASE?"]);
}

#[test]
fn the_help_lists_every_key_with_its_variable() {
    let shell = Shell::new();
    let help = shell.run(&["config", "check", "--help"]).ok().stdout;
    for key in ["queue.max_buffer_size", "TIDEGATE_DEAD_LETTER_QUEUE__RETENTION_DAYS"] {
        assert!(help.contains(key), "{help}");
    }
}
