//! `tidegate send`: tasks from the command line, a file or stdin.

mod account;
mod lines;
mod room;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use tidegate::{
    Broker, Enqueued, Error, ErrorKind, NewTask, Ordering, QueueName, Result as Answer,
};

use super::{find_or_make, queue_name};
use crate::app::App;
use crate::config::Settings;
use crate::failure::Failure;
use crate::{progress, units};

use account::Account;
use lines::{Lines, Next, Shape, Source};

/// Send tasks to a queue
///
/// One task from BODY, or one a line from a file or, with `-`, from stdin. A queue that is missing
/// is made with the defaults of the configuration. Empty lines are skipped.
///
/// With --key or --dedup every line must be a JSON object; a line without the field is sent without
/// a key, and counted. At the first line that cannot be sent it stops: all before it are sent, and
/// it says how many.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("tasks").required(true).args(["body", "from"])))]
#[command(override_usage = "tidegate send [OPTIONS] <QUEUE> <BODY | - | --from FILE>")]
#[command(after_help = "Examples:
  tidegate send mail '{\"to\":\"ada@example.com\"}'
  tidegate send mail 'remind me' --delay 10m --kind mail.reminder
  tidegate send flights --from flights.jsonl --key tailnum
  generate | tidegate send imports - --wait --dedup id")]
pub(crate) struct Send {
    /// The queue
    #[arg(value_parser = queue_name)]
    queue: QueueName,
    /// The task's payload, or `-` for one task a line from stdin
    body: Option<String>,
    /// A file with one task a line
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The JSON field whose value is the ordering key
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// The JSON field whose value keeps a second task with the same value out, for the queue's
    /// dedup window
    #[arg(long, value_name = "FIELD")]
    dedup: Option<String>,
    /// What the tasks are, for whoever works on them [default: the queue's name]
    #[arg(long, value_name = "NAME")]
    kind: Option<String>,
    /// Hold the tasks back this long
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    delay: Option<Duration>,
    /// Wait for room where the queue is full, instead of stopping
    #[arg(long)]
    wait: bool,
    /// Longest wait for room without any coming free
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60s", requires = "wait")]
    wait_timeout: Duration,
}

/// Tasks that are sent together: one durable commit for all of them.
const BATCH_TASKS: usize = 500;

pub(crate) async fn run(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    args: Send,
) -> Result<(), Failure> {
    let source = Source::of(args.body.as_deref(), args.from.as_deref());
    let lines = Lines::open(&source).await?;
    let (spec, created) = find_or_make(settings, broker, &args.queue).await?;
    let shape = Shape {
        kind: args.kind.unwrap_or_else(|| args.queue.to_string()),
        key: args.key,
        dedup: args.dedup.map(|field| (field, spec.dedup_window)),
        delay: args.delay.unwrap_or_default(),
    };
    let patience = args.wait.then_some(args.wait_timeout);
    let account = Account::new(args.queue.clone(), created);
    let mut sender = Sender { broker, queue: &args.queue, patience, shape, account };
    let bar = progress::bar(format!("sending to {}", args.queue), None);
    let sent = sender.send_all(lines, &bar).await;
    bar.finish_and_clear();
    if sender.shape.key.is_some() && spec.ordering == Ordering::None {
        eprintln!(
            "note: \"{0}\" keeps no order; for that, make it with `tidegate queue create {0} \
             --ordering key`",
            args.queue
        );
    }
    let told = app.output.account(&sender.account, sender.account.text());
    sent?;
    told
}

struct Sender<'a> {
    broker: &'a Broker,
    queue: &'a QueueName,
    /// How long to wait for room; `None` stops where the queue is full.
    patience: Option<Duration>,
    shape: Shape,
    account: Account,
}

impl Sender<'_> {
    async fn send_all(
        &mut self,
        mut lines: Lines,
        bar: &indicatif::ProgressBar,
    ) -> Result<(), Failure> {
        loop {
            let (batch, end) = self.next_batch(&mut lines).await;
            let count = batch.len() as u64;
            self.send_batch(batch).await?;
            bar.inc(count);
            match end {
                End::Full => {}
                End::Input => return Ok(()),
                End::Wrong(failure) => return Err(failure),
            }
        }
    }

    /// The next tasks with their lines, and what ended the batch. What stands before a bad line is
    /// sent before the line is complained about.
    async fn next_batch(&mut self, lines: &mut Lines) -> (Vec<(u64, NewTask)>, End) {
        let mut batch = Vec::new();
        while batch.len() < BATCH_TASKS {
            let (at, line) = match lines.next(batch.is_empty()).await {
                Ok(Next::Line(at, line)) => (at, line),
                Ok(Next::End) => return (batch, End::Input),
                Ok(Next::Pause) => return (batch, End::Full),
                Err(failure) => return (batch, End::Wrong(failure)),
            };
            match self.shape.task(line, &mut self.account) {
                Ok(Some(task)) => batch.push((at, task)),
                Ok(None) => {}
                Err(why) => {
                    let place = lines.place(at);
                    return (batch, End::Wrong(Failure::failed(format!("{place}: {why}"))));
                }
            }
        }
        (batch, End::Full)
    }

    async fn send_batch(&mut self, batch: Vec<(u64, NewTask)>) -> Result<(), Failure> {
        let (places, tasks): (Vec<u64>, Vec<NewTask>) = batch.into_iter().unzip();
        let answers = match self.patience {
            None => self.broker.enqueue(self.queue, &tasks).await?,
            Some(patience) => room::wait(self.broker, self.queue, tasks, patience).await?,
        };
        let mut wrong = None;
        for (at, answer) in places.into_iter().zip(answers) {
            if let Err(error) = self.account.take(answer) {
                wrong.get_or_insert((at, error));
            }
        }
        match wrong {
            None => Ok(()),
            Some((at, error)) => Err(self.refused(at, error)),
        }
    }

    fn refused(&self, at: u64, error: Error) -> Failure {
        let only = self.account.sent() == 0 && at == 1;
        let place = if only { String::new() } else { format!("line {at}: ") };
        if error.kind() == ErrorKind::QueueFull && self.patience.is_some() {
            return Failure::later(format!("{place}failed to {error}")).with_help(
                "no room came free for as long as --wait-timeout says; are workers running?",
            );
        }
        Failure::from(error).behind(&place)
    }
}

enum End {
    /// The batch is full, or the input pauses.
    Full,
    /// There is no more input.
    Input,
    /// A line cannot be sent.
    Wrong(Failure),
}

/// The outcome of one task.
type Outcome = Answer<Enqueued>;
