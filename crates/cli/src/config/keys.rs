//! Every key there is, as data: the file, the environment and `config check` all read this table.

use std::time::Duration;

use super::value::Value;
use crate::units;

/// One key of the configuration.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its path, such as `queue.max_buffer_size`.
    pub(crate) path: &'static str,
    /// What can stand there.
    pub(crate) form: Form,
    /// Whether something in this build goes by it.
    pub(crate) use_: Use,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// A whole number in a range.
    Count(u64, u64),
    /// A whole number from 1, or the word `unbounded`.
    Capacity,
    /// A time above zero.
    Duration,
    /// Bytes, or a size such as `256KB`, in a range.
    Size(u64, u64),
    /// A number from 1.0.
    Factor,
    /// Any text but none.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
}

/// Whether something in this build goes by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It does.
    Active,
    /// What it is for has not been built yet.
    Later,
    /// With this value it does; what others are for has not been built yet.
    ActiveAs(&'static str),
}

const DAY: Duration = Duration::from_secs(86_400);
/// Ten years: anything longer is a mistake in units.
const DAYS_MAX: u64 = 3_650;
/// The longest payload a broker of this build takes.
const PAYLOAD_BYTES_MAX: u64 = tidegate::limits::PAYLOAD_BYTES_MAX as u64;

/// All keys, in the order of the documentation.
pub(crate) const KEYS: &[Key] = &[
    key("broker", Form::Text, Use::Active),
    key("queue.max_buffer_size", Form::Capacity, Use::Active),
    key("queue.graceful_shutdown_timeout", Form::Duration, Use::Active),
    key("queue.ack_mode", Form::Choice(&["manual", "auto"]), Use::Active),
    key("queue.heartbeat_interval", Form::Duration, Use::Active),
    key("queue.lease", Form::Duration, Use::Active),
    key("queue.dedup_window", Form::Duration, Use::Active),
    key("redis_queue.url", Form::Text, Use::Active),
    key("redis_queue.backend", Form::Choice(&["redis"]), Use::Active),
    key("redis_queue.stream_max_len", Form::Count(1, u64::MAX), Use::Active),
    key("redis_queue.block_timeout_ms", Form::Count(1, 60_000), Use::Active),
    key("redis_queue.serialization", Form::Choice(&["json", "msgpack"]), Use::Active),
    key("kafka_broker.bootstrap_servers", Form::Texts, Use::Later),
    key("kafka_broker.acks", Form::Choice(&["all", "1", "0"]), Use::Later),
    key("kafka_broker.retries", Form::Count(0, 2_147_483_647), Use::Later),
    key(
        "kafka_broker.compression",
        Form::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
        Use::Later,
    ),
    key("schema_registry.url", Form::Text, Use::Later),
    key("schema_registry.compatibility_level", Form::Choice(COMPATIBILITY), Use::Later),
    key("schema_registry.cache_capacity", Form::Count(1, 1_000_000), Use::Later),
    key(
        "serialization.format",
        Form::Choice(&["json", "msgpack", "protobuf", "avro"]),
        Use::ActiveAs("json"),
    ),
    key("serialization.max_message_bytes", Form::Size(1, PAYLOAD_BYTES_MAX), Use::Active),
    key("serialization.fallback_storage", Form::Text, Use::Later),
    key("retry_policy.max_attempts", Form::Count(1, 1_000_000), Use::Active),
    key("retry_policy.initial_delay", Form::Duration, Use::Active),
    key("retry_policy.multiplier", Form::Factor, Use::Active),
    key("retry_policy.max_delay", Form::Duration, Use::Active),
    key("retry_policy.jitter", Form::Choice(JITTERS), Use::Active),
    key("dead_letter_queue.routing_key", Form::Text, Use::Active),
    key("dead_letter_queue.retention_days", Form::Count(1, DAYS_MAX), Use::Active),
    key("dead_letter_queue.alert_threshold", Form::Count(1, u64::MAX), Use::Active),
];

const JITTERS: &[&str] = &["full", "equal", "none", "decorrelated"];
const COMPATIBILITY: &[&str] = &[
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
    "NONE",
];

const fn key(path: &'static str, form: Form, use_: Use) -> Key {
    Key { path, form, use_ }
}

/// The key with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys stand below this path.
pub(crate) fn is_block(path: &str) -> bool {
    KEYS.iter().any(|key| key.block() == Some(path))
}

/// The known key or block that is most like `path`, if one is near.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    let blocks = KEYS.iter().filter_map(Key::block);
    let known = KEYS.iter().map(|key| key.path).chain(blocks);
    let near = known.map(|known| (distance(path, known), known)).min_by_key(|(far, _)| *far);
    let (far, known) = near?;
    // WHY: a suggestion that shares nothing with what was written misleads.
    if far <= 3.max(path.len() / 3) { Some(known) } else { nearest_leaf(path) }
}

/// The one of `known` that is most like `word`, if one is near.
pub(crate) fn nearest_of(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|known| (distance(word, known), *known));
    near.min_by_key(|(far, _)| *far).filter(|(far, _)| *far <= 3).map(|(_, known)| known)
}

/// A key of the right name in another block: `max_attempts` for `retry_policy.max_attempts`.
fn nearest_leaf(path: &str) -> Option<&'static str> {
    let leaf = path.rsplit('.').next()?;
    let near = KEYS.iter().map(|key| (distance(leaf, key.leaf()), key.path));
    near.min_by_key(|(far, _)| *far).filter(|(far, _)| *far <= 2).map(|(_, path)| path)
}

/// The fewest insertions, removals and replacements between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(x != *y)).min(*above + 1).min(left + 1);
            diagonal = *above;
            *above = cost;
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

impl Key {
    /// The block it stands in; `None` at the top.
    pub(crate) fn block(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(block, _)| block)
    }

    /// Its name inside its block.
    pub(crate) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("TIDEGATE_{}", self.path.replace('.', "__").to_ascii_uppercase())
    }

    /// Whether this build goes by the key when it has this value.
    pub(crate) fn is_active_as(&self, value: &Value) -> bool {
        match self.use_ {
            Use::Active => true,
            Use::Later => false,
            Use::ActiveAs(active) => matches!(value, Value::Text(text) if text == active),
        }
    }

    /// Reads a text, as the environment has it.
    pub(crate) fn read_text(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self.form {
            Form::Texts => {
                let parts = text.split(',').map(|part| Value::text(part.trim()));
                self.read(Value::List(parts.filter(|part| *part != Value::text("")).collect()))
            }
            _ => match (text.parse(), text.parse()) {
                (Ok(count), _) => self.read(Value::Count(count)),
                (_, Ok(factor)) => self.read(Value::Factor(factor)),
                _ => self.read(Value::text(text)),
            },
        }
    }

    /// Turns what was written into what it means, or says what can stand there.
    pub(crate) fn read(&self, written: Value) -> Result<Value, String> {
        match self.form {
            Form::Count(least, most) => in_range(written, least, most),
            Form::Capacity => match written {
                Value::Text(word) if word == "unbounded" => Ok(Value::Unbounded),
                Value::Count(1..) => Ok(written),
                other => Err(format!("{other} is neither a whole number from 1 nor `unbounded`")),
            },
            Form::Duration => read_duration(&written),
            Form::Size(least, most) => match written {
                Value::Text(text) => in_range(Value::Count(units::size(&text)?), least, most),
                other => in_range(other, least, most),
            },
            Form::Factor => match written {
                Value::Count(whole @ 1..) => Ok(Value::Factor(whole as f64)),
                Value::Factor(factor) if factor >= 1.0 && factor.is_finite() => Ok(written),
                other => Err(format!("{other} is not a number from 1.0")),
            },
            Form::Text => match written {
                Value::Text(text) if text.is_empty() => {
                    Err("it is empty; leave the key out".into())
                }
                Value::Text(_) => Ok(written),
                other => Err(format!("{other} is not text; put it in quotes")),
            },
            Form::Choice(words) => choose(&written, words),
            Form::Texts => read_texts(written),
        }
    }
}

fn in_range(written: Value, least: u64, most: u64) -> Result<Value, String> {
    let bounds = match most {
        u64::MAX => format!("from {}", units::grouped(least)),
        _ => format!("from {} to {}", units::grouped(least), units::grouped(most)),
    };
    match written {
        Value::Count(count) if (least..=most).contains(&count) => Ok(written),
        other => Err(format!("{other} is not a whole number {bounds}")),
    }
}

fn read_duration(written: &Value) -> Result<Value, String> {
    let Value::Text(text) = written else {
        return Err(format!("{written} has no unit; write a time such as `30s` or `250ms`"));
    };
    match units::duration(text)? {
        Duration::ZERO => Err("a time of zero makes no sense here; write one such as `30s`".into()),
        time if time > DAY * DAYS_MAX as u32 => Err(format!("{text:?} is more than ten years")),
        time => Ok(Value::Duration(time)),
    }
}

fn choose(written: &Value, words: &[&str]) -> Result<Value, String> {
    let word = match written {
        Value::Text(word) => word.clone(),
        other => other.to_string(),
    };
    if words.contains(&word.as_str()) {
        return Ok(Value::Text(word));
    }
    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    Err(format!("{written} is none of {}", known.join(", ")))
}

fn read_texts(written: Value) -> Result<Value, String> {
    let Value::List(parts) = written else {
        return Err(format!("{written} is not a list; write `[\"one\", \"two\"]`"));
    };
    if parts.is_empty() || parts.iter().any(|part| !matches!(part, Value::Text(_))) {
        return Err("it must be a list of one or more texts".into());
    }
    Ok(Value::List(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("queue.max_bufer_size"), Some("queue.max_buffer_size"));
        assert_eq!(nearest("qeue"), Some("queue"));
        assert_eq!(nearest("queue.max_attempts"), Some("retry_policy.max_attempts"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let variables: std::collections::BTreeSet<String> =
            KEYS.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert!(variables.contains("TIDEGATE_QUEUE__MAX_BUFFER_SIZE"));
        assert!(variables.contains("TIDEGATE_BROKER"));
    }
}
