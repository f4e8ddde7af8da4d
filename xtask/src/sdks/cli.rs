//! The AWS CLI, as it is, in both versions: a message by hand, from the queue's creation to its end.

use std::fmt;
use std::process::Command;

use serde_json::{Value, json};

use super::client::{EVERYTHING, ended, reach};
use super::python;
use super::server::{Server, Stood};
use crate::cargo::Counts;
use crate::examples::same;
use crate::needs::{self, FOR_AWS_CLI};
use crate::workload::Failure;

const REQUIREMENTS: &str = "requirements-cli.txt";
const QUEUE: &str = "by-hand";

/// One of the two that are in use.
#[derive(Clone, Copy, Debug)]
enum Cli {
    /// Version 1, from PyPI.
    One,
    /// Version 2, which the machine has.
    Two,
}

/// Each as a test.
pub(super) fn counted() -> Counts {
    Cli::One.counted().plus(Cli::Two.counted())
}

impl Cli {
    fn counted(self) -> Counts {
        if let Err(why) = self.provide() {
            eprintln!("{self} is skipped: {why}");
            return Counts { skipped: 1, ..Counts::default() };
        }
        let done = by_hand(self);
        let name = "a message goes through a queue by hand";
        match &done {
            Ok(()) => println!("test {self}: {name} ... ok"),
            Err(error) => println!("test {self}: {name} ... FAILED\n    {error}"),
        }
        Counts::one(done.is_ok())
    }

    fn provide(self) -> Result<(), Failure> {
        match self {
            Self::One => python::install(&python::target("cli"), REQUIREMENTS),
            Self::Two if needs::provide(FOR_AWS_CLI).is_empty() => Ok(()),
            Self::Two => Err("see above".into()),
        }
    }

    fn command(self) -> Command {
        match self {
            Self::One => {
                let mut python = Command::new(python::of(&python::target("cli")));
                python.args(["-m", "awscli"]);
                python
            }
            Self::Two => Command::new("/usr/bin/aws"),
        }
    }
}

impl fmt::Display for Cli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "aws cli 1",
            Self::Two => "aws cli 2",
        })
    }
}

fn by_hand(cli: Cli) -> Result<(), Failure> {
    let dir = python::target(&cli.to_string());
    let server = Server::start(&dir.join("server"), &Stood::Keys)?;
    let created = aws(cli, &server, &["create-queue", "--queue-name", QUEUE])?;
    let url = text(&created, "/QueueUrl")?;
    let of_queue = |arguments: &[&str]| {
        let (action, rest) = arguments.split_first().ok_or("an action")?;
        aws(cli, &server, &[&[*action, "--queue-url", url][..], rest].concat())
    };
    let listed = aws(cli, &server, &["list-queues"])?;
    same("queues", &listed, &json!({ "QueueUrls": [url] }))?;
    let kind = r#"{"type":{"DataType":"String","StringValue":"greeting"}}"#;
    let sent = of_queue(&["send-message", "--message-body", "grüß", "--message-attributes", kind])?;
    let entries = r#"[{"Id":"a","MessageBody":"one"},{"Id":"b","MessageBody":"two"}]"#;
    let batch = of_queue(&["send-message-batch", "--entries", entries])?;
    let succeeded = batch.get("Successful").and_then(Value::as_array).map(Vec::len);
    same("what succeeded of a batch", &succeeded, &Some(2))?;
    let all = ["--message-attribute-names", "All", "--wait-time-seconds", "20"];
    let received = of_queue(&[&["receive-message"][..], &all].concat())?;
    same("the body", &text(&received, "/Messages/0/Body")?, &"grüß")?;
    let attribute = text(&received, "/Messages/0/MessageAttributes/type/StringValue")?;
    same("an attribute", &attribute, &"greeting")?;
    same("the id", &text(&received, "/Messages/0/MessageId")?, &text(&sent, "/MessageId")?)?;
    let handle = text(&received, "/Messages/0/ReceiptHandle")?;
    let hide = ["--receipt-handle", handle, "--visibility-timeout", "600"];
    of_queue(&[&["change-message-visibility"][..], &hide].concat())?;
    same("what is held", &server.stats(QUEUE)?.leased, &1)?;
    of_queue(&["delete-message", "--receipt-handle", handle])?;
    let stats = server.stats(QUEUE)?;
    same("what is left", &(stats.ready, stats.leased), &(2, 0))?;
    of_queue(&["purge-queue"])?;
    same("what is left", &server.stats(QUEUE)?.live(), &0)?;
    of_queue(&["delete-queue"])?;
    let gone = ended(command(cli, &server, &["get-queue-url", "--queue-name", QUEUE]))?;
    let is_told = gone.stderr.iter().any(|line| line.contains("NonExistentQueue"));
    same(&gone.stderr.join("\n"), &(is_told, gone.is_success), &(true, false))
}

fn command(cli: Cli, server: &Server, arguments: &[&str]) -> Command {
    let mut command = cli.command();
    command.args(["--endpoint-url", server.url(), "--output", "json", "sqs"]).args(arguments);
    reach(&mut command, server.url(), EVERYTHING);
    command.env("PYTHONUTF8", "1").current_dir(python::target(&cli.to_string()));
    command
}

/// What it answers; nothing is `null`.
fn aws(cli: Cli, server: &Server, arguments: &[&str]) -> Result<Value, Failure> {
    let ended = ended(command(cli, server, arguments))?;
    if !ended.is_success {
        return Err(format!("{arguments:?}: {}", ended.stderr.join("\n")).into());
    }
    match ended.stdout.join("\n").as_str() {
        "" => Ok(Value::Null),
        answer => Ok(serde_json::from_str(answer)?),
    }
}

fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str, Failure> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.ok_or_else(|| format!("no {pointer} in {answer}").into())
}
