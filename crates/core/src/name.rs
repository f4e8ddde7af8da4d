//! Queue names: what every broker can carry in its own naming scheme.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::QUEUE_NAME_BYTES_MAX;

/// The name of a queue: 1 to 128 of `A-Z a-z 0-9 _ - .`, not starting with a dot. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Checks `name`. The error says which rule it breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self, String> {
        let name = name.as_ref();
        match broken_rule(name) {
            None => Ok(Self(name.into())),
            Some(rule) => Err(format!("{name:?} is not a queue name: {rule}")),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn broken_rule(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name.len() > QUEUE_NAME_BYTES_MAX {
        return Some(format!("it has {} bytes, at most {QUEUE_NAME_BYTES_MAX} fit", name.len()));
    }
    if name.starts_with('.') {
        return Some("it starts with a dot".into());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let stranger = name.chars().find(|c| !allowed(*c))?;
    Some(format!("{stranger:?} is not allowed, only letters, digits, '_', '-' and '.' are"))
}

impl TryFrom<String> for QueueName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(name)
    }
}

impl TryFrom<&str> for QueueName {
    type Error = String;

    fn try_from(name: &str) -> Result<Self, String> {
        Self::new(name)
    }
}

impl FromStr for QueueName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::new(name)
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_edges() {
        assert!(QueueName::new("a").is_ok());
        assert!(QueueName::new("dlq.failed_tasks").is_ok());
        assert!(QueueName::new("x".repeat(128)).is_ok());
        assert!(QueueName::new("x".repeat(129)).unwrap_err().contains("129 bytes"));
        assert!(QueueName::new("").is_err());
        assert!(QueueName::new(".hidden").is_err());
        assert!(QueueName::new("a/b").unwrap_err().contains("'/'"));
        assert!(QueueName::new("straße").is_err());
    }
}
