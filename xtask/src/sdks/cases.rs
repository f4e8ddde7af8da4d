//! What every client of SQS in `examples/` is held to. Each case has a server of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use tidegate_core::{Partitions, Router};

use super::client::{Client, EVERYTHING, Key, PRODUCER, WRONG, ended};
use super::faults::Faults;
use super::server::{Server, Stood};
use crate::cargo::{Counts, root};
use crate::examples::flights::{self, Expected};
use crate::examples::program::{Ended, Program};
use crate::examples::same;
use crate::examples::server::until;
use crate::workload::Failure;

/// What a case does at its server.
type Run = fn(Client, &mut Server) -> Result<(), Failure>;

const QUEUE: &str = "flights";
const PARTITIONS: u32 = 3;
/// Flights that a case waits for.
const FEW: usize = 8;

/// Counts the servers of this process.
static NUMBER: AtomicU16 = AtomicU16::new(0);

/// All clients, side by side: most of it is waiting.
pub(super) fn counted(clients: &[Client]) -> Counts {
    thread::scope(|scope| {
        let threads: Vec<_> =
            clients.iter().map(|client| scope.spawn(move || counted_of(*client))).collect();
        let counts = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let counts = counts.fold(Counts::default(), Counts::plus);
        // When all are built.
        others(clients).into_iter().fold(counts, |counts, one| counts.plus(one))
    })
}

fn counted_of(client: Client) -> Counts {
    if let Err(why) = client.build() {
        eprintln!("the SQS client in {client} is skipped: {why}");
        return Counts { skipped: 1, ..Counts::default() };
    }
    let cases: [(&str, Stood, Run); 9] = [
        ("its helpers equal Tidegate's own", Stood::Engine, |client, _| client.test()),
        (
            "it signs; flights go to their partitions, once, and come in order",
            Stood::Keys,
            goes_through,
        ),
        ("a wrong secret and too few rights are refused for good", Stood::Keys, refused),
        ("what is refused alone does not keep the rest of its batch", Stood::Engine, refused_alone),
        ("what a batch leaves out is done again", Stood::Engine, does_again),
        ("flights are held while they are worked on", Stood::Engine, holds),
        ("what is held is given back at the end", Stood::Engine, gives_back),
        ("what a killed consumer held comes back", Stood::Engine, comes_back),
        ("a kill of the server in the middle loses nothing", Stood::Engine, lives_on),
    ];
    let mut cases = Vec::from(cases);
    if client == Client::Typescript {
        cases.push(("sqs-consumer works as it is", Stood::Keys, sqs_consumer));
    }
    let judged = cases.into_iter().map(|(name, stood, run)| judge(client, name, &stood, run));
    judged.fold(Counts::default(), Counts::plus)
}

/// Each client works on what the one before it sent.
fn others(clients: &[Client]) -> Vec<Counts> {
    let pairs = clients.iter().zip(clients.iter().skip(1));
    let name = "what another language sends it receives, in order, unsigned";
    pairs
        .map(|(sender, receiver)| {
            judge(*receiver, name, &Stood::Engine, |client, server| {
                let at = server.url().to_owned();
                send(*sender, &at, EVERYTHING)?;
                receives_all(client, server)
            })
        })
        .collect()
}

fn judge(
    client: Client,
    name: &str,
    stood: &Stood,
    run: impl Fn(Client, &mut Server) -> Result<(), Failure>,
) -> Counts {
    let done = Server::start(&dir(), stood).and_then(|mut server| run(client, &mut server));
    match &done {
        Ok(()) => println!("test sqs, {client}: {name} ... ok"),
        Err(error) => println!("test sqs, {client}: {name} ... FAILED\n    {error}"),
    }
    Counts::one(done.is_ok())
}

fn dir() -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    root().join("target/examples").join(format!("sqs-server-{}-{number}", std::process::id()))
}

fn on_queue(mut command: Command) -> Command {
    command.args(["--queue", QUEUE, "--partitions", &PARTITIONS.to_string()]);
    command
}

fn producer(client: Client, url: &str, key: Key, path: &Path) -> Command {
    let mut command = on_queue(client.producer(url, key));
    command.arg(path);
    command
}

fn consumer(client: Client, url: &str, arguments: &[&str]) -> Result<Program, Failure> {
    let mut command = on_queue(client.consumer(url, EVERYTHING));
    command.args(arguments);
    Program::run(command)
}

fn send(client: Client, url: &str, key: Key) -> Result<(), Failure> {
    let sent = ended(producer(client, url, key, &flights::path()))?;
    let told = format!("sent={} refused=0", Expected::read()?.count());
    same("what it says", &(said(&sent), &sent.stdout), &(Vec::new(), &vec![told]))
}

/// What a client says went wrong. Go's SDK tells more, of connections that it closed.
fn said(ended: &Ended) -> Vec<&str> {
    ended.stderr.iter().map(String::as_str).filter(|line| !line.starts_with("SDK ")).collect()
}

/// Of each partition: what is ready, and what is held.
fn counts(server: &Server) -> Result<Vec<(u64, u64)>, Failure> {
    let partition = |at| {
        let stats = server.stats(&format!("{QUEUE}-{at}.fifo"))?;
        Ok((stats.ready, stats.leased))
    };
    (0..PARTITIONS).map(partition).collect()
}

fn is_empty(server: &Server) -> Result<bool, Failure> {
    let mut live = server.stats(&format!("{QUEUE}-dead.fifo"))?.live();
    for partition in 0..PARTITIONS {
        let stats = server.stats(&format!("{QUEUE}-{partition}.fifo"))?;
        live += stats.live() + stats.dead;
    }
    Ok(live == 0)
}

/// What must be ready in each partition, by Tidegate's own routing.
fn routed() -> Result<Vec<(u64, u64)>, Failure> {
    let (expected, partitions) = (Expected::read()?, Partitions::new(PARTITIONS)?);
    let routed: Vec<u32> =
        expected.groups().map(|key| Router::Hash.route(Some(key), 0, partitions)).collect();
    let count = |at| routed.iter().filter(|partition| **partition == at).count() as u64;
    Ok((0..PARTITIONS).map(|at| (count(at), 0)).collect())
}

/// Runs a consumer until the queues are empty, and returns what it printed.
fn consume_all(client: Client, server: &Server, url: &str) -> Result<Vec<String>, Failure> {
    let (least, mut consumer) = (Expected::read()?.count(), consumer(client, url, &[])?);
    until("the queues are empty", || {
        consumer.must_run()?;
        Ok(consumer.printed() >= least && is_empty(server)?)
    })?;
    let ended = consumer.stop()?;
    same("what went wrong", &(ended.is_success, said(&ended)), &(true, Vec::new()))?;
    Ok(ended.stdout)
}

fn receives_all(client: Client, server: &Server) -> Result<(), Failure> {
    Expected::read()?.compare_in_groups(&consume_all(client, server, server.url())?)
}

fn goes_through(client: Client, server: &mut Server) -> Result<(), Failure> {
    for _ in 0..2 {
        send(client, server.url(), EVERYTHING)?;
        same("flights in the partitions", &counts(server)?, &routed()?)?;
    }
    receives_all(client, server)
}

fn refused(client: Client, server: &mut Server) -> Result<(), Failure> {
    for (key, code) in [(WRONG, "SignatureDoesNotMatch"), (PRODUCER, "AccessDenied")] {
        let url = server.url();
        let send = producer(client, url, key, &flights::path());
        for command in [send, on_queue(client.consumer(url, key))] {
            let ended = ended(command)?;
            let says = |line: &String| line.starts_with("failed: ") && line.contains(code);
            let is_told = ended.stderr.iter().any(says);
            same(
                &format!("{code} in {:?}", ended.stderr),
                &(is_told, ended.is_success),
                &(true, false),
            )?;
        }
    }
    Ok(())
}

/// SQS does not allow every character.
fn refused_alone(client: Client, server: &mut Server) -> Result<(), Failure> {
    let text = fs::read_to_string(flights::path())?;
    let mut lines: Vec<String> = text.lines().take(FEW).map(str::to_owned).collect();
    let third = lines.get_mut(2).ok_or("read the third line")?;
    *third = third.replacen("\"dest\":\"", "\"dest\":\"\u{ffff}", 1);
    let path = dir();
    fs::write(&path, lines.join("\n"))?;
    let ended = ended(producer(client, server.url(), EVERYTHING, &path));
    fs::remove_file(&path)?;
    let ended = ended?;
    let told = vec![format!("sent={} refused=1", FEW - 1)];
    same("what it says", &(ended.is_success, ended.stdout), &(false, told))?;
    let is_told =
        ended.stderr.iter().any(|line| line.starts_with("failed: InvalidMessageContents"));
    same(&format!("why, in {:?}", ended.stderr), &is_told, &true)?;
    let ready: u64 = counts(server)?.iter().map(|(ready, _)| ready).sum();
    same("flights that are there", &ready, &(FEW as u64 - 1))
}

/// Sends, deletes and changes of the visibility meet a server that does a part of them.
fn does_again(client: Client, server: &mut Server) -> Result<(), Failure> {
    let address = server.url().trim_start_matches("http://").to_owned();
    let faults = Faults::start(&address)?;
    send(client, &faults.url(), EVERYTHING)?;
    let of_sends = faults.left_out();
    same("sends were left out", &(of_sends > 0), &true)?;
    same("flights in the partitions", &counts(server)?, &routed()?)?;
    let printed = consume_all(client, server, &faults.url())?;
    same("deletes were left out", &(faults.left_out() > of_sends), &true)?;
    Expected::read()?.compare_in_groups(&printed)
}

/// Flights take longer than they are hidden, and still the other one does not get them.
fn holds(client: Client, server: &mut Server) -> Result<(), Failure> {
    send(client, server.url(), EVERYTHING)?;
    // WHY: not much longer, so that a heartbeat has seven seconds to come late.
    let slow = ["--visibility-s", "11", "--work-ms", "14000"];
    let mut slow = consumer(client, server.url(), &slow)?;
    until("it holds flights of each partition", || {
        slow.must_run()?;
        Ok(counts(server)?.iter().all(|(_, held)| *held > 0))
    })?;
    let fast = consumer(client, server.url(), &[])?;
    until("the first are done", || {
        slow.must_run()?;
        Ok(slow.printed() >= FEW)
    })?;
    let (slow, fast) = (slow.stop()?, fast.stop()?);
    same("what was lost", &(said(&slow), said(&fast)), &(Vec::new(), Vec::new()))?;
    let name = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let names = |lines: &[String]| lines.iter().map(name).collect::<BTreeSet<_>>();
    let (slow, fast) = (names(&slow.stdout), names(&fast.stdout));
    same("the other one did something", &fast.is_empty(), &false)?;
    same("what both did", &slow.intersection(&fast).collect(), &Vec::new())
}

fn gives_back(client: Client, server: &mut Server) -> Result<(), Failure> {
    let held = holding(client, server, "600")?;
    let ended = held.stop()?;
    same("how it ended", &(ended.is_success, said(&ended)), &(true, Vec::new()))?;
    same("what it printed", &ended.stdout, &Vec::new())?;
    same("flights in the partitions", &counts(server)?, &routed()?)?;
    receives_all_whatever_attempt(client, server)
}

fn comes_back(client: Client, server: &mut Server) -> Result<(), Failure> {
    // It is killed where it is dropped.
    drop(holding(client, server, "3")?);
    receives_all_whatever_attempt(client, server)
}

/// A consumer that holds flights of each partition and does not get done.
fn holding(client: Client, server: &Server, visibility_s: &str) -> Result<Program, Failure> {
    send(client, server.url(), EVERYTHING)?;
    let slow = ["--visibility-s", visibility_s, "--work-ms", "600000"];
    let mut slow = consumer(client, server.url(), &slow)?;
    until("it holds flights of each partition", || {
        slow.must_run()?;
        Ok(counts(server)?.iter().all(|(_, held)| *held > 0))
    })?;
    Ok(slow)
}

fn receives_all_whatever_attempt(client: Client, server: &Server) -> Result<(), Failure> {
    Expected::read()?.compare_after_losses(&consume_all(client, server, server.url())?)
}

/// The consumer goes on by itself. What was on its way to it comes back when it is no longer hidden.
fn lives_on(client: Client, server: &mut Server) -> Result<(), Failure> {
    let expected = Expected::read()?;
    send(client, server.url(), EVERYTHING)?;
    let arguments = ["--visibility-s", "5", "--work-ms", "5"];
    let mut consumer = consumer(client, server.url(), &arguments)?;
    for part in [4, 2] {
        until("a part is printed", || {
            consumer.must_run()?;
            Ok(consumer.printed() >= expected.count() / part)
        })?;
        server.kill_and_restart()?;
    }
    until("the queues are empty", || {
        consumer.must_run()?;
        is_empty(server)
    })?;
    let ended = consumer.stop()?;
    let known = ["trying again: ", "lost ", "not extended: "];
    let strange =
        said(&ended).into_iter().find(|line| !known.iter().any(|it| line.starts_with(it)));
    same("what it says", &strange, &None)?;
    expected.compare_after_losses(&ended.stdout)
}

/// It sends orders itself; the one that fails at first comes again at once.
fn sqs_consumer(client: Client, server: &mut Server) -> Result<(), Failure> {
    const ORDERS: usize = 20;
    const FAILS: usize = 7;
    let mut ended = ended(client.program("sqs-consumer", server.url()))?;
    let why = vec!["failed: Unexpected message handler failure: it is tried again".to_owned()];
    same("how it ended", &(ended.is_success, &ended.stderr), &(true, &why))?;
    let attempt = |order| if order == FAILS { 2 } else { 1 };
    let done = (0..ORDERS).map(|order| format!("order={order} attempt={}", attempt(order)));
    let mut done: Vec<String> = done.collect();
    ended.stdout.sort();
    done.sort();
    same("orders", &ended.stdout, &done)?;
    same("orders that are left", &server.stats("orders")?.live(), &0)
}
