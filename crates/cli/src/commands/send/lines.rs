//! What is to be sent, a line at a time, and how a line becomes a task.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Map, Value};
use tidegate::{NewTask, Unique};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Split};
use tokio::time::timeout;

use super::account::Account;
use crate::failure::Failure;

/// How long a batch that has begun waits for the next line of a slow writer.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the tasks come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Body(String),
    File(PathBuf),
    Stdin,
}

impl Source {
    pub(super) fn of(body: Option<&str>, from: Option<&Path>) -> Self {
        match (body, from) {
            (_, Some(path)) if path.as_os_str() == "-" => Self::Stdin,
            (_, Some(path)) => Self::File(path.to_owned()),
            (Some("-"), None) => Self::Stdin,
            (body, None) => Self::Body(body.unwrap_or_default().to_owned()),
        }
    }
}

/// What came next.
pub(super) enum Next {
    /// A task's text with the number of its line, from 1.
    Line(u64, Vec<u8>),
    /// Whoever writes pauses.
    Pause,
    /// There is no more.
    End,
}

/// The lines of a source, counted from 1. A body is one line, whatever it holds.
pub(super) struct Lines {
    from: From,
    /// What is read, for errors.
    name: String,
    at: u64,
}

enum From {
    Body(Option<Vec<u8>>),
    Reader(Split<BufReader<Pin<Box<dyn AsyncRead + Send>>>>),
}

impl Lines {
    pub(super) async fn open(source: &Source) -> Result<Self, Failure> {
        let split = |reader: Pin<Box<dyn AsyncRead + Send>>| {
            From::Reader(BufReader::with_capacity(1 << 16, reader).split(b'\n'))
        };
        let (from, name) = match source {
            Source::Body(body) => (From::Body(Some(body.clone().into_bytes())), "BODY".to_owned()),
            Source::Stdin => (split(Box::pin(tokio::io::stdin())), "stdin".to_owned()),
            Source::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(|error| {
                    Failure::usage(format!("{} cannot be read: {error}", path.display()))
                })?;
                (split(Box::pin(file)), path.display().to_string())
            }
        };
        Ok(Self { from, name, at: 0 })
    }

    /// What comes next. Only the first line of a batch is waited for, so that the tasks of a slow
    /// writer are sent as they come.
    pub(super) async fn next(&mut self, first: bool) -> Result<Next, Failure> {
        let read = match &mut self.from {
            From::Body(body) => Ok(body.take()),
            From::Reader(lines) if first => lines.next_segment().await,
            From::Reader(lines) => match timeout(PAUSE, lines.next_segment()).await {
                Ok(read) => read,
                Err(_) => return Ok(Next::Pause),
            },
        };
        let line = read.map_err(|error| {
            Failure::failed(format!(
                "{} cannot be read on after line {}: {error}",
                self.name, self.at
            ))
        })?;
        let Some(mut line) = line else { return Ok(Next::End) };
        self.at += 1;
        if let (From::Reader(_), Some(b'\r')) = (&self.from, line.last()) {
            line.pop();
        }
        Ok(Next::Line(self.at, line))
    }

    /// Where a line stands, for errors.
    pub(super) fn place(&self, at: u64) -> String {
        match self.from {
            From::Body(_) => self.name.clone(),
            From::Reader(_) => format!("{}, line {at}", self.name),
        }
    }
}

/// How a line becomes a task.
pub(super) struct Shape {
    pub(super) kind: String,
    /// The field with the ordering key.
    pub(super) key: Option<String>,
    /// The field with the dedup key, and how long that holds.
    pub(super) dedup: Option<(String, Duration)>,
    pub(super) delay: Duration,
}

impl Shape {
    /// The task of a line; none for an empty one. The error says what is wrong with the line.
    pub(super) fn task(
        &self,
        line: Vec<u8>,
        account: &mut Account,
    ) -> Result<Option<NewTask>, String> {
        if line.iter().all(u8::is_ascii_whitespace) {
            account.empty_line();
            return Ok(None);
        }
        let mut key = None;
        let mut dedup = None;
        if self.key.is_some() || self.dedup.is_some() {
            let fields = object(&line)?;
            key = self.key.as_deref().map(|name| field(&fields, name)).transpose()?.flatten();
            let name = self.dedup.as_ref().map(|(name, _)| name);
            dedup = name.map(|name| field(&fields, name)).transpose()?.flatten();
        }
        let mut task = NewTask::new(self.kind.clone(), line).delay(self.delay);
        match (&self.dedup, dedup) {
            (Some((_, window)), Some(key)) => task = task.dedup(key, Unique::Window(*window)),
            (Some(_), None) => account.no_dedup_key(),
            (None, _) => {}
        }
        if self.key.is_some() && key.is_none() {
            account.no_key();
        }
        task.ordering_key = key;
        Ok(Some(task))
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(line).map_err(|error| {
        let column = error.column();
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
        format!("not a JSON object: {text} (column {column}); --key and --dedup need one")
    })
}

/// The text of a field, or none where it is missing, null or empty.
fn field(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(format!("field {name:?} is neither text nor a number, so it is no key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Map<String, Value> {
        object(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_the_text_of_its_field() {
        let all = fields(r#"{"a":"x","b":7,"c":true,"d":null,"e":"","f":[1]}"#);
        let key = |name| field(&all, name).unwrap();
        assert_eq!(key("a").as_deref(), Some("x"));
        assert_eq!(key("b").as_deref(), Some("7"));
        assert_eq!(key("c").as_deref(), Some("true"));
        assert_eq!((key("d"), key("e"), key("missing")), (None, None, None));
        assert!(field(&all, "f").unwrap_err().contains("\"f\""));
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_column() {
        for text in ["[1]", "7", "{\"a\":}", ""] {
            let why = object(text.as_bytes()).unwrap_err();
            assert!(why.contains("not a JSON object") && why.contains("column"), "{why}");
        }
    }
}
