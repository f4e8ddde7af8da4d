//! The AWS CLI, as it is: a message by hand, from the queue's creation to its end.

use std::process::Command;

use serde_json::{Value, json};

use super::client::{EVERYTHING, ended, reach};
use super::python;
use super::server::{Server, Stood};
use crate::cargo::Counts;
use crate::examples::same;
use crate::workload::Failure;

const REQUIREMENTS: &str = "requirements-cli.txt";
const QUEUE: &str = "by-hand";

/// The CLI as a test.
pub(super) fn counted() -> Counts {
    if let Err(why) = python::install(&python::target("cli"), REQUIREMENTS) {
        eprintln!("the AWS CLI is skipped: {why}");
        return Counts { skipped: 1, ..Counts::default() };
    }
    let done = by_hand();
    let name = "a message goes through a queue by hand";
    match &done {
        Ok(()) => println!("test aws cli: {name} ... ok"),
        Err(error) => println!("test aws cli: {name} ... FAILED\n    {error}"),
    }
    Counts::one(done.is_ok())
}

fn by_hand() -> Result<(), Failure> {
    let server = Server::start(&python::target("cli").join("server"), &Stood::Keys)?;
    let created = aws(&server, &["create-queue", "--queue-name", QUEUE])?;
    let url = text(&created, "/QueueUrl")?;
    let of_queue = |arguments: &[&str]| {
        let (action, rest) = arguments.split_first().ok_or("an action")?;
        aws(&server, &[&[*action, "--queue-url", url][..], rest].concat())
    };
    let listed = aws(&server, &["list-queues"])?;
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
    let gone = ended(command(&server, &["get-queue-url", "--queue-name", QUEUE]))?;
    let is_told = gone.stderr.iter().any(|line| line.contains("NonExistentQueue"));
    same(&gone.stderr.join("\n"), &(is_told, gone.is_success), &(true, false))
}

fn command(server: &Server, arguments: &[&str]) -> Command {
    let target = python::target("cli");
    let mut command = Command::new(python::of(&target));
    command.args(["-m", "awscli", "--endpoint-url", server.url(), "--output", "json", "sqs"]);
    command.args(arguments);
    reach(&mut command, server.url(), EVERYTHING);
    command.env("PYTHONUTF8", "1").current_dir(target);
    command
}

/// What it answers; nothing is `null`.
fn aws(server: &Server, arguments: &[&str]) -> Result<Value, Failure> {
    let ended = ended(command(server, arguments))?;
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
