//! Reading what scripts answer.

use bytes::Bytes;
use redis::Value;
use tidegate_core::{Error, ErrorKind, Operation, Result};

/// The parts of an answer, taken one after the other.
pub(crate) struct Parts {
    values: std::vec::IntoIter<Value>,
    doing: Operation,
}

impl Parts {
    pub(crate) fn of(value: Value, doing: Operation) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self { values: values.into_iter(), doing }),
            Value::Nil => Ok(Self { values: Vec::new().into_iter(), doing }),
            _ => Err(strange(doing)),
        }
    }

    /// All that were not taken yet.
    pub(crate) fn rest(self) -> Vec<Value> {
        self.values.collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The length of all that are left.
    pub(crate) fn bytes_in_all(&self) -> usize {
        let bytes = |value: &Value| match value {
            Value::BulkString(bytes) => bytes.len(),
            _ => 0,
        };
        self.values.as_slice().iter().map(bytes).sum()
    }

    pub(crate) fn next(&mut self) -> Result<Value> {
        self.values.next().ok_or_else(|| strange(self.doing))
    }

    pub(crate) fn parts(&mut self) -> Result<Self> {
        let doing = self.doing;
        Self::of(self.next()?, doing)
    }

    pub(crate) fn each(self) -> impl Iterator<Item = Result<Self>> {
        let Self { values, doing } = self;
        values.map(move |value| Self::of(value, doing))
    }

    pub(crate) fn int(&mut self) -> Result<i64> {
        let doing = self.doing;
        match self.next()? {
            Value::Int(number) => Ok(number),
            Value::BulkString(text) => {
                text_of(text).and_then(|text| text.parse().ok()).ok_or_else(|| strange(doing))
            }
            _ => Err(strange(doing)),
        }
    }

    /// A number that is never below zero.
    pub(crate) fn number(&mut self) -> Result<u64> {
        u64::try_from(self.int()?).map_err(|_| strange(self.doing))
    }

    pub(crate) fn count(&mut self) -> Result<u32> {
        u32::try_from(self.int()?).map_err(|_| strange(self.doing))
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.maybe_text()?.ok_or_else(|| strange(self.doing))
    }

    pub(crate) fn maybe_text(&mut self) -> Result<Option<String>> {
        let doing = self.doing;
        match self.maybe_bytes()? {
            Some(bytes) => text_of(bytes.into()).map(Some).ok_or_else(|| strange(doing)),
            None => Ok(None),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        self.maybe_bytes()?.ok_or_else(|| strange(self.doing))
    }

    pub(crate) fn maybe_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(Some(bytes.into())),
            Value::SimpleString(text) => Ok(Some(text.into())),
            Value::Nil => Ok(None),
            _ => Err(strange(self.doing)),
        }
    }
}

/// What a script answered that changes tasks, and how many moves are not done yet.
pub(crate) struct Told {
    pub(crate) moves: u64,
    pub(crate) answer: Value,
}

impl Told {
    pub(crate) fn of(value: Value, doing: Operation) -> Result<Self> {
        let mut parts = Parts::of(value, doing)?;
        Ok(Self { moves: parts.number()?, answer: parts.next()? })
    }
}

pub(crate) fn int_of(value: &Value, doing: Operation) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(strange(doing)),
    }
}

/// An answer that is a text.
pub(crate) fn text(answer: Value, doing: Operation) -> Result<String> {
    Parts::of(Value::Array(vec![answer]), doing)?.text()
}

fn text_of(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

/// The server answered something that no script of this version answers.
pub(crate) fn strange(doing: Operation) -> Error {
    let why = "the server's answer does not fit what it was asked; is another version at work on these keys?";
    Error::new(ErrorKind::Unexpected, doing, why)
}
