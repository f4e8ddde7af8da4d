//! Who asks the servers: a plain client, or an SDK of AWS in a process of its own, by the program `asker` of
//! `examples/sqs-*`.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::client::{Client, KEY, Said};
use crate::sdks::client::{Client as Sdk, Key};

/// One who asks any of several servers.
#[derive(Debug)]
pub(super) enum Asker {
    /// By plain requests, a connection to each server.
    Plain(Vec<Client>),
    /// By an SDK.
    Sdk { ports: Vec<u16>, process: Process },
}

/// The process of an SDK. It is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Asker {
    pub(super) fn plain(ports: &[u16]) -> Self {
        Self::Plain(ports.iter().map(|port| Client::new(*port)).collect())
    }

    /// Starts the process of an SDK that was built.
    pub(super) fn of(sdk: Sdk, ports: &[u16]) -> io::Result<Self> {
        let (id, secret) = KEY;
        let mut command = sdk.asker(Key { id, secret });
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let piped = child.stdin.take().zip(child.stdout.take());
        let (questions, answers) = piped.ok_or(io::ErrorKind::BrokenPipe)?;
        let process = Process { child, questions, answers: BufReader::new(answers) };
        Ok(Self::Sdk { ports: ports.to_vec(), process })
    }

    /// How many servers there are.
    pub(super) fn servers(&self) -> usize {
        match self {
            Self::Plain(clients) => clients.len(),
            Self::Sdk { ports, .. } => ports.len(),
        }
    }

    /// Asks one of the servers. `None` where no answer came: it may have been done or not.
    ///
    /// # Errors
    /// If the SDK's process is gone or answers what it never should.
    pub(super) fn ask(
        &mut self,
        server: usize,
        action: &str,
        members: &Value,
    ) -> io::Result<Option<Said>> {
        match self {
            Self::Plain(clients) => {
                let client = clients.get_mut(server).ok_or(io::ErrorKind::NotFound)?;
                Ok(client.ask(action, members).ok())
            }
            Self::Sdk { ports, process } => {
                let port = ports.get(server).ok_or(io::ErrorKind::NotFound)?;
                let endpoint = format!("http://127.0.0.1:{port}");
                let question =
                    json!({ "endpoint": endpoint, "action": action, "members": members });
                process.ask(&question)
            }
        }
    }
}

impl Process {
    fn ask(&mut self, question: &Value) -> io::Result<Option<Said>> {
        writeln!(self.questions, "{question}")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(io::Error::other(format!("the SDK's process ended at {question}")));
        }
        let mut answer: Value = serde_json::from_str(&answer)?;
        if let Some(done) = answer.get_mut("done") {
            return Ok(Some(Said::Done(done.take())));
        }
        match answer.get("refused").and_then(Value::as_str) {
            Some(code) => Ok(Some(Said::Refused(code.to_owned()))),
            None if answer.get("unknown").is_some() => Ok(None),
            None => Err(io::Error::other(format!("the SDK's process answered {answer}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
