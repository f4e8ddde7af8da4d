//! What stands at a key.

use std::fmt;
use std::time::Duration;

use crate::units;

/// What stands at a key: as it was written, or as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nothing,
    Flag(bool),
    Count(u64),
    Unbounded,
    Duration(Duration),
    Factor(f64),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Unbounded => f.write_str("unbounded"),
            Self::Duration(time) => f.write_str(&units::show(*time)),
            Self::Factor(factor) => write!(f, "{factor:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(parts) => {
                let parts: Vec<String> = parts.iter().map(Self::to_string).collect();
                write!(f, "[{}]", parts.join(", "))
            }
        }
    }
}
