use std::path::Path;
use std::time::Duration;

use miette::Diagnostic;
use tidegate::worker::AckMode;
use tidegate::{Capacity, Jitter};

use super::blocks::Status;
use super::*;

/// The configuration of the documentation, to the letter.
const DOCUMENTED: &str = include_str!("documented.yaml");

fn config(text: &str) -> Result<Config, Problem> {
    let mut config = Config::default();
    config.lay_over(yaml::read(Path::new("tidegate.yaml"), text)?);
    config.check()?;
    Ok(config)
}

/// What is wrong with a text, with the help behind an arrow.
fn wrong(text: &str) -> String {
    let problem = config(text).unwrap_err();
    match problem.help() {
        Some(help) => format!("{problem} -> {help}"),
        None => problem.to_string(),
    }
}

#[test]
fn the_documented_configuration_loads_as_it_stands() {
    let settings = Settings::of(&config(DOCUMENTED).unwrap());
    assert_eq!(settings.capacity, Capacity::Bounded(10_000));
    assert_eq!(settings.graceful_shutdown_timeout, Duration::from_secs(30));
    assert_eq!(settings.ack, AckMode::Manual);
    assert_eq!(settings.heartbeat_interval, Duration::from_secs(15));
    assert_eq!(settings.payload_bytes_max, 262_144);
    assert_eq!(settings.retry.max_attempts, 5);
    assert_eq!(settings.retry.initial_delay, Duration::from_secs(1));
    assert_eq!(settings.retry.multiplier, 2.0);
    assert_eq!(settings.retry.jitter, Jitter::Full);
    let dead = settings.dead_letters;
    assert_eq!(dead.queue.unwrap().as_str(), "dlq.failed_tasks");
    assert_eq!(dead.retention, Duration::from_secs(14 * 86_400));
    assert_eq!(dead.alert_threshold, 100);
}

#[test]
fn every_key_of_the_documented_configuration_is_kept_with_its_place() {
    let config = config(DOCUMENTED).unwrap();
    assert_eq!(config.set.len(), 25);
    let setting = &config.set["kafka_broker.bootstrap_servers"];
    assert_eq!(setting.value.to_string(), r#"["kafka-01:9092", "kafka-02:9092"]"#);
    assert_eq!(setting.origin.to_string(), "tidegate.yaml:12:22");
}

#[test]
fn the_blocks_say_what_is_in_force() {
    let config = config(DOCUMENTED).unwrap();
    let status = |name| blocks(&config).into_iter().find(|b| b.block == name).unwrap().status;
    assert_eq!(status("queue"), Status::Active);
    assert_eq!(status("retry_policy"), Status::Active);
    assert_eq!(status("dead_letter_queue"), Status::Active);
    assert_eq!(status("serialization"), Status::Partly);
    assert_eq!(status("redis_queue"), Status::Active);
    for later in ["kafka_broker", "schema_registry"] {
        assert_eq!(status(later), Status::NotBuiltYet, "{later}");
    }
    assert_eq!(status("broker"), Status::Defaults);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let table = [
        (
            "queue:\n  max_bufer_size: 1\n",
            "tidegate.yaml:2:3: unknown key `queue.max_bufer_size` -> did you mean `queue.max_buffer_size`?",
        ),
        ("qeue:\n  lease: 1s\n", "tidegate.yaml:1:1: unknown key `qeue` -> did you mean `queue`?"),
        (
            "queue:\n  max_attempts: 3\n",
            "tidegate.yaml:2:3: unknown key `queue.max_attempts` -> did you mean `retry_policy.max_attempts`?",
        ),
        (
            "queue:\n  lease: 30 parsecs\n",
            "tidegate.yaml:2:10: `queue.lease`: \"30 parsecs\" is not a time; write one such as `250ms`, `30s`, `5m` or `1h`",
        ),
        (
            "queue:\n  lease: 30\n",
            "tidegate.yaml:2:10: `queue.lease`: 30 has no unit; write a time such as `30s` or `250ms`",
        ),
        (
            "serialization:\n  max_message_bytes: 1 XB\n",
            "tidegate.yaml:2:22: `serialization.max_message_bytes`: \"1 XB\" is not a size; write bytes, or one such as `256KB` or `1MB` (1 KB is 1,024 bytes)",
        ),
        (
            "serialization:\n  max_message_bytes: 1GB\n",
            "tidegate.yaml:2:22: `serialization.max_message_bytes`: 1073741824 is not a whole number from 1 to 16,777,216",
        ),
        (
            "queue:\n  lease: 1s\n  lease: 2s\n",
            "tidegate.yaml:3:3: duplicate key `lease` -> keep one of the two; which one would count is anybody's guess",
        ),
        (
            "queue:\n  max_buffer_size: 0\n",
            "tidegate.yaml:2:20: `queue.max_buffer_size`: 0 is neither a whole number from 1 nor `unbounded`",
        ),
        (
            "queue:\n  max_buffer_size: -5\n",
            "tidegate.yaml:2:20: `queue.max_buffer_size`: -5.0 is neither a whole number from 1 nor `unbounded`",
        ),
        (
            "queue:\n  ack_mode: maybe\n",
            "tidegate.yaml:2:13: `queue.ack_mode`: \"maybe\" is none of `manual`, `auto`",
        ),
        (
            "retry_policy:\n  multiplier: 0.5\n",
            "tidegate.yaml:2:15: `retry_policy.multiplier`: 0.5 is not a number from 1.0",
        ),
        (
            "retry_policy:\n  initial_delay: 1h\n",
            "tidegate.yaml:2:18: `retry_policy.initial_delay`: max_delay is shorter than initial_delay",
        ),
        (
            "dead_letter_queue:\n  routing_key: a/b\n",
            "tidegate.yaml:2:16: `dead_letter_queue.routing_key`: \"a/b\" is not a queue name: '/' is not allowed, only letters, digits, '_', '-' and '.' are",
        ),
        ("queue: 5\n", "tidegate.yaml:1:8: `queue` is a block of keys, but 5 stands there"),
        (
            "queue:\n  lease:\n    of: 5s\n",
            "tidegate.yaml:3:5: `queue.lease` takes one value, not keys",
        ),
        ("- a\n", "tidegate.yaml:1:1: the file is not a map of blocks"),
    ];
    for (text, expected) in table {
        assert_eq!(wrong(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_yaml_is_said_with_its_place() {
    let problem = wrong("queue:\n  lease: \"30s\n");
    assert!(problem.starts_with("tidegate.yaml:"), "{problem}");
    assert!(problem.contains("this is not YAML"), "{problem}");
}

#[test]
fn an_empty_file_sets_nothing_and_so_does_an_empty_block() {
    for text in ["", "# nothing\n\n", "queue:\n"] {
        assert!(config(text).unwrap().set.is_empty(), "{text:?}");
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let mut config = config("queue:\n  lease: 10s\n  max_buffer_size: 7\n").unwrap();
    let variable = ("TIDEGATE_QUEUE__LEASE".to_owned(), "20s".to_owned());
    config.lay_over(environment::read([variable].into_iter()).unwrap());
    let settings = Settings::of(&config);
    assert_eq!(settings.lease, Duration::from_secs(20));
    assert_eq!(settings.capacity, Capacity::Bounded(7));
}

#[test]
fn the_shared_dead_letter_queue_has_none_of_its_own_and_no_bound() {
    let settings = Settings::of(&config(DOCUMENTED).unwrap());
    let dead = settings.spec("dlq.failed_tasks".parse().unwrap());
    assert_eq!((dead.dead_letters.queue, dead.capacity), (None, Capacity::Unbounded));
    let mail = settings.spec("mail".parse().unwrap());
    assert_eq!(mail.dead_letters.queue.unwrap().as_str(), "dlq.failed_tasks");
}
