//! What every example is held to. Each case has a server of its own.

use tidegate_core::{Capacity, NewTask, Ordering, QueueName, QueueSpec};

use super::flights::{self, Expected};
use super::language::{Language, Role};
use super::program::{Ended, Program};
use super::proxy::Proxy;
use super::server::{SENDERS_TOKEN, Server, TOKEN, until};
use super::{same, setup};
use crate::workload::Failure;

/// What a case does at its server.
type Run = Box<dyn Fn(&mut Server) -> Result<(), Failure>>;

/// One check of one language.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) run: Run,
}

const QUEUE: &str = "flights";
/// The bound of a queue unless it is set.
const CAPACITY: usize = 10_000;
/// Tasks that a consumer holds where a case looks at what is held.
const HELD: usize = 8;
/// Consumers that end in the middle.
const TURNS: usize = 4;
/// Bytes of a producer after which it hears no more: two or three of its requests.
const HELD_AFTER_BYTES: usize = 80_000;
/// Tasks in the queue by then that it cannot all have heard of.
const UNHEARD_OF: u64 = 500;

/// The cases of a language, beside another that sends to it.
pub(super) fn of(language: Language, other: Option<Language>) -> Vec<Case> {
    let case = |name, run: fn(Language, &Server) -> Result<(), Failure>| Case {
        name,
        run: Box::new(move |server| run(language, server)),
    };
    let mut cases = vec![
        case("what is sent twice is there once", sends_once),
        case("what it sends it receives, in order, and settles", |language, server| {
            goes_through(language, language, server)
        }),
        case("a wrong token, too few rights and another spec are refused for good", refused),
        case("a full queue is a matter of time", full),
        case("what was sent and not answered is sent again, and is there once", sends_again),
        case("a lease is extended while its task is worked on", extends),
        case("what is held is given back at the end, unharmed", gives_back),
        case("those that end in the middle of their work leave the rest to the next", takes_turns),
        Case {
            name: "what is held when the server restarts is settled afterwards",
            run: Box::new(move |server| holds_on(language, server)),
        },
        Case {
            name: "a restart and a kill of the server in the middle lose nothing",
            run: Box::new(move |server| restarts(language, server)),
        },
    ];
    if let Some(other) = other {
        cases.push(Case {
            name: "what another language sends it receives, in order, and settles",
            run: Box::new(move |server| goes_through(other, language, server)),
        });
    }
    if language == Language::Go {
        cases.push(case("its generated code is fresh", |_, _| setup::go_is_fresh()));
    }
    cases
}

fn send(language: Language, server: &Server, token: &str) -> Result<Ended, Failure> {
    start_to_send(language, (server.address(), token))?.end()
}

fn start_to_send(language: Language, (address, token): (&str, &str)) -> Result<Program, Failure> {
    let path = flights::path();
    let path = path.to_str().ok_or("read a path")?;
    Program::start((language, Role::Producer), (address, token), QUEUE, &[path])
}

fn consume(language: Language, server: &Server, arguments: &[&str]) -> Result<Program, Failure> {
    Program::start((language, Role::Consumer), (server.address(), TOKEN), QUEUE, arguments)
}

/// Runs a consumer until all is printed that is expected, and returns what it printed.
fn consume_all(
    language: Language,
    server: &Server,
    expected: &Expected,
) -> Result<Vec<String>, Failure> {
    let mut consumer = consume(language, server, &[])?;
    until("all is printed", || {
        consumer.must_run()?;
        Ok(consumer.printed() >= expected.lines())
    })?;
    consumer.stop()?.lines()
}

fn is_empty(server: &Server) -> Result<bool, Failure> {
    let stats = server.stats(QUEUE)?;
    Ok(stats.live() == 0 && stats.dead == 0)
}

fn sends_once(language: Language, server: &Server) -> Result<(), Failure> {
    let count = Expected::read()?.count();
    let first = send(language, server, TOKEN)?.lines()?;
    same("the first time", &first, &vec![format!("sent={count} deduplicated=0")])?;
    let second = send(language, server, TOKEN)?.lines()?;
    same("the second time", &second, &vec![format!("sent={count} deduplicated={count}")])?;
    same("tasks in the queue", &server.stats(QUEUE)?.ready, &(count as u64))
}

fn goes_through(sender: Language, receiver: Language, server: &Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    send(sender, server, TOKEN)?.lines()?;
    let printed = consume_all(receiver, server, &expected)?;
    same("the queue is empty", &is_empty(server)?, &true)?;
    expected.compare(&printed)
}

fn refused(language: Language, server: &Server) -> Result<(), Failure> {
    const FOR_GOOD: &str = "trying again does not help";
    let wrong = "a-token-that-nobody-knows";
    send(language, server, wrong)?.failed_with(&["failed: DENIED", FOR_GOOD])?;
    let consumer = |token| {
        Program::start((language, Role::Consumer), (server.address(), token), QUEUE, &[])?.end()
    };
    consumer(wrong)?.failed_with(&["failed: DENIED", FOR_GOOD])?;
    server.with_broker(async |broker| Ok(broker.declare(&spec(Ordering::Key)?).await?))?;
    // WHY: refused on the stream itself; the queue may be declared by those who send.
    consumer(SENDERS_TOKEN)?.failed_with(&["failed: DENIED", "receive", QUEUE, FOR_GOOD])?;
    let delete = async |broker: &tidegate_core::Broker| {
        broker.admin()?.delete(&QueueName::new(QUEUE)?).await?;
        Ok(broker.declare(&spec(Ordering::None)?).await?)
    };
    server.with_broker(delete)?;
    send(language, server, TOKEN)?.failed_with(&["failed: CONFLICT", QUEUE, FOR_GOOD])?;
    consumer(TOKEN)?.failed_with(&["failed: CONFLICT", QUEUE, FOR_GOOD])
}

fn full(language: Language, server: &Server) -> Result<(), Failure> {
    server.with_broker(async |broker| {
        broker.declare(&spec(Ordering::Key)?).await?;
        let tasks = vec![NewTask::new("filler", Vec::new()); CAPACITY];
        for sent in broker.enqueue(&QueueName::new(QUEUE)?, &tasks).await? {
            sent?;
        }
        Ok(())
    })?;
    send(language, server, TOKEN)?.failed_with(&["failed: QUEUE_FULL", QUEUE, "trying again helps"])
}

/// The connection breaks when the server has done more than the client knows of.
fn sends_again(language: Language, server: &Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    let proxy = Proxy::start(server.address(), HELD_AFTER_BYTES)?;
    let mut producer = start_to_send(language, (&proxy.address(), TOKEN))?;
    until("more is in the queue than the client knows of", || {
        producer.must_run()?;
        // It declares the queue first.
        Ok(server.stats(QUEUE).is_ok_and(|stats| stats.ready >= UNHEARD_OF))
    })?;
    proxy.cut()?;
    let told = producer.end()?.lines()?;
    let [told] = told.as_slice() else { return Err(format!("one line: {told:?}").into()) };
    let count = expected.count();
    let known = told.strip_prefix(&format!("sent={count} deduplicated=")).map(str::parse::<u64>);
    let Some(Ok(1..)) = known else { return Err(format!("some sent twice: {told}").into()) };
    same("tasks in the queue", &server.stats(QUEUE)?.ready, &(count as u64))?;
    expected.compare(&consume_all(language, server, &expected)?)
}

/// The queue of the examples, in one order or the other.
fn spec(ordering: Ordering) -> Result<QueueSpec, Failure> {
    let spec = QueueSpec { ordering, ..QueueSpec::new(QueueName::new(QUEUE)?) };
    same("the bound of a queue", &spec.capacity, &Capacity::Bounded(CAPACITY as u64))?;
    Ok(spec)
}

/// Tasks take more than two leases, and still the other one, which takes all that it can get, does not
/// get them.
fn extends(language: Language, server: &Server) -> Result<(), Failure> {
    send(language, server, TOKEN)?.lines()?;
    let held = HELD.to_string();
    let slow = ["--concurrency", &held, "--lease-ms", "6000", "--work-ms", "13000"];
    let mut slow = consume(language, server, &slow)?;
    until("it holds what it asked for", || {
        slow.must_run()?;
        Ok(server.stats(QUEUE)?.leased == HELD as u64)
    })?;
    let fast = consume(language, server, &[])?;
    until("the first are done", || {
        slow.must_run()?;
        Ok(slow.printed() >= HELD)
    })?;
    let (slow, fast) = (slow.stop()?, fast.stop()?);
    same("what was lost", &slow.stderr, &Vec::new())?;
    same("what the other one lost", &fast.stderr, &Vec::new())?;
    done_at_first(&slow.lines()?)?;
    let twice = fast.lines()?.into_iter().find(|line| line.contains(" attempt=2 outcome=DONE: +"));
    same("what came to the other one too", &twice, &None)
}

/// What is held when the server ends is worked on, and settled when it is back.
fn holds_on(language: Language, server: &mut Server) -> Result<(), Failure> {
    send(language, server, TOKEN)?.lines()?;
    let held = HELD.to_string();
    let slow = ["--concurrency", &held, "--lease-ms", "600000", "--work-ms", "2000"];
    let mut consumer = consume(language, server, &slow)?;
    until("it holds what it asked for", || {
        consumer.must_run()?;
        Ok(server.stats(QUEUE)?.leased == HELD as u64)
    })?;
    server.restart()?;
    until("the first are done", || {
        consumer.must_run()?;
        Ok(consumer.printed() >= HELD)
    })?;
    let printed = consumer.stop()?.lines()?;
    let first = printed.get(..HELD).ok_or("look at the first lines")?;
    done_at_first(first)?;
    Expected::read()?.compare_first(first)
}

fn done_at_first(lines: &[String]) -> Result<(), Failure> {
    let is_done = |line: &String| line.contains(" attempt=1 outcome=DONE: ");
    same("lines that are not", &lines.iter().find(|line| !is_done(line)), &None)
}

/// Consumers end one after the other while they are at work, so much is on its way each time.
fn takes_turns(language: Language, server: &Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    send(language, server, TOKEN)?.lines()?;
    let mut printed = Vec::new();
    for _ in 0..TURNS {
        let mut consumer = consume(language, server, &[])?;
        until("it is at work", || {
            consumer.must_run()?;
            Ok(consumer.printed() >= HELD)
        })?;
        printed.extend(consumer.stop()?.lines()?);
    }
    let mut consumer = consume(language, server, &[])?;
    until("all is printed", || {
        consumer.must_run()?;
        Ok(printed.len() + consumer.printed() >= expected.lines())
    })?;
    printed.extend(consumer.stop()?.lines()?);
    expected.compare(&printed)
}

fn gives_back(language: Language, server: &Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    send(language, server, TOKEN)?.lines()?;
    let held = HELD.to_string();
    let mut slow = consume(language, server, &["--concurrency", &held, "--work-ms", "600000"])?;
    until("it holds what it asked for", || {
        slow.must_run()?;
        Ok(server.stats(QUEUE)?.leased == HELD as u64)
    })?;
    let printed = slow.stop()?.lines()?;
    same("what is printed", &printed, &Vec::new())?;
    let stats = server.stats(QUEUE)?;
    let held_and_ready = (stats.leased, stats.ready);
    same("what is held, and ready", &held_and_ready, &(0, expected.count() as u64))?;
    // Unharmed: for the next one it is their first attempt.
    expected.compare(&consume_all(language, server, &expected)?)
}

/// The consumer goes on by itself. What was on its way to it when the server was killed comes back when
/// its lease ends.
fn restarts(language: Language, server: &mut Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    send(language, server, TOKEN)?.lines()?;
    let slow = ["--lease-ms", "5000", "--work-ms", "20"];
    let mut consumer = consume(language, server, &slow)?;
    let printed = |consumer: &mut Program, least: usize| {
        until("a part is printed", || {
            consumer.must_run()?;
            Ok(consumer.printed() >= least)
        })
    };
    printed(&mut consumer, expected.count() / 4)?;
    server.restart()?;
    printed(&mut consumer, expected.count() / 2)?;
    server.kill_and_restart()?;
    until("the queue is empty", || {
        consumer.must_run()?;
        is_empty(server)
    })?;
    expected.compare_after_losses(&consumer.stop()?.lines()?)
}
