//! The commands, one file each: parse, do, answer.

pub(crate) mod config;
pub(crate) mod dlq;
mod listing;
pub(crate) mod queue;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod task;
pub(crate) mod work;

use clap::CommandFactory;
use tidegate::{Broker, ErrorKind, QueueName, QueueSpec};

use crate::app::{App, Fresh};
use crate::args::{Cli, Command, Completions};
use crate::config::Settings;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{bench, demo};
use queue::summary;

/// Carries a command out.
pub(crate) async fn run(app: App, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Demo(args) => return demo::run(&app, args).await,
        Command::DemoChild(args) => demo::child::run(args).await?,
        Command::Bench(args) => bench::run(&app, args).await?,
        Command::Serve(args) => serve::run(&app, args).await?,
        Command::Config(args) => config::run(&app, args)?,
        Command::Completions(args) => complete(&args),
        command => on_a_broker(&app, command).await?,
    }
    Ok(Exit::Done)
}

/// Connects, carries the command out, and closes the broker whatever came of it.
async fn on_a_broker(app: &App, command: Command) -> Result<(), Failure> {
    let settings = app.settings()?;
    let fresh = match &command {
        Command::Send(_) | Command::Work(_) => Fresh::Make,
        Command::Queue(args) => args.fresh(),
        _ => Fresh::Refuse,
    };
    check(&command)?;
    let broker = app.open(&settings, fresh).await?;
    let done = carry_out(app, &settings, &broker, command).await;
    let closed = broker.close().await;
    done?;
    Ok(closed?)
}

/// Refuses what can be refused before anything is opened.
fn check(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Queue(args) => args.check(),
        Command::Dlq(args) => args.check(),
        _ => Ok(()),
    }
}

async fn carry_out(
    app: &App,
    settings: &Settings,
    broker: &Broker,
    command: Command,
) -> Result<(), Failure> {
    match command {
        Command::Send(args) => send::run(app, settings, broker, args).await,
        Command::Work(args) => work::run(app, settings, broker, args).await,
        Command::Queue(args) => queue::run(app, settings, broker, args).await,
        Command::Task(args) => task::run(app, broker, args).await,
        Command::Dlq(args) => dlq::run(app, broker, args).await,
        other => Err(Failure::failed(format!("{other:?} needs no broker"))),
    }
}

fn complete(args: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidegate", &mut script);
    // A reader that went away needs no completions.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
}

/// A queue's name on the command line.
pub(crate) fn queue_name(text: &str) -> Result<QueueName, String> {
    QueueName::new(text)
}

/// The spec of a queue; one that is missing is made with the defaults, and that is said. Whether it was
/// made.
pub(crate) async fn find_or_make(
    settings: &Settings,
    broker: &Broker,
    queue: &QueueName,
) -> Result<(QueueSpec, bool), Failure> {
    // WHY: a broker that cannot show its queues can still be asked to make this one.
    if let Ok(inspect) = broker.inspect() {
        match inspect.spec(queue).await {
            Ok(found) => return Ok((found, false)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let spec = settings.spec(queue.clone());
    match broker.declare(&spec).await {
        Ok(()) => {
            eprintln!("made the queue \"{queue}\" ({})", summary(&spec));
            Ok((spec, true))
        }
        // Somebody made it meanwhile, with other settings: it is there, which is what counts.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok((spec, false)),
        Err(error) => Err(error.into()),
    }
}
