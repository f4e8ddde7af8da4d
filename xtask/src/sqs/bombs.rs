//! `bombs`: clients that mean harm, many at once, against the real server: what it holds for them stays
//! below a limit, others are served meanwhile, and each of them is ended.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::client::{Client, Said, answer, signed};
use super::server::{Guard, Server};
use super::work::url;
use crate::cargo::{Counts, root};
use crate::programs;
use crate::workload::Failure;

/// What the server may hold at its peak, in MiB.
const PEAK_MIB_MAX: u64 = 256;
/// Longer than any limit of the server: 60 s for a head and for an answer, 30 s for a body, and the wait for
/// room before it.
const ENDED_WITHIN: Duration = Duration::from_secs(240);
/// An honest request that takes as long was not served.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest body that a server takes.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Between two bytes of those who are slow.
const DRIP: Duration = Duration::from_millis(500);

/// How `bombs` is run.
#[derive(Debug, Args)]
pub(crate) struct BombsArgs {
    /// Connections of each kind
    #[arg(long, default_value_t = 24)]
    connections: usize,
    /// Only this kind
    #[arg(long)]
    only: Option<String>,
    /// A binary to try instead of the one that is built
    #[arg(long)]
    program: Option<PathBuf>,
}

/// A kind of harm: its name, and what one connection does until it is ended.
type Bomb = (&'static str, fn(u16) -> std::io::Result<()>);

const BOMBS: [Bomb; 11] = [
    ("bodies at the limit", |port| {
        send(port, &request("SendMessage", &text_of(BODY_BYTES_MAX - 100)))
    }),
    ("bodies beyond it", |port| send(port, &request("SendMessage", &text_of(BODY_BYTES_MAX + 1)))),
    ("deep JSON", |port| {
        send(port, &request("SendMessage", &"{\"a\":".repeat(BODY_BYTES_MAX / 5)))
    }),
    ("lists of nothing", |port| {
        let entries = "{},".repeat(BODY_BYTES_MAX / 3 - 30);
        send(port, &request("SendMessageBatch", &format!("{{\"Entries\":[{entries}{{}}]}}")))
    }),
    ("many parameters", |port| {
        let head =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n";
        let body: String = (0..BODY_BYTES_MAX / 16).map(|n| format!("&Tag.{n}.Key=a")).collect();
        let body = body.get(..BODY_BYTES_MAX).unwrap_or(&body);
        send(port, format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
    }),
    ("heads without end", |port| {
        let mut stream = connect(port)?;
        stream.write_all(b"POST / HTTP/1.1\r\n")?;
        endless(&mut stream, format!("x-{}: {}\r\n", "a".repeat(20), "b".repeat(1_000)).as_bytes())
    }),
    ("chunks without end", |port| {
        let mut stream = connect(port)?;
        stream.write_all(CHUNKED)?;
        endless(&mut stream, format!("400\r\n{}\r\n", "x".repeat(1_024)).as_bytes())
    }),
    ("tiny chunks without end", |port| {
        let mut stream = connect(port)?;
        stream.write_all(CHUNKED)?;
        endless(&mut stream, "1\r\nx\r\n".repeat(1_000).as_bytes())
    }),
    ("slow heads", |port| {
        let mut stream = connect(port)?;
        stream.write_all(format!("POST / HTTP/1.1\r\nx: {}", "y".repeat(60_000)).as_bytes())?;
        drip(stream)
    }),
    ("slow bodies", |port| {
        let mut stream = connect(port)?;
        let head = request("SendMessage", &text_of(BODY_BYTES_MAX - 100));
        stream.write_all(head.get(..2 << 20).unwrap_or(&head))?;
        drip(stream)
    }),
    ("answers that nobody takes", |port| {
        let mut stream = connect(port)?;
        let asked =
            json!({ "QueueUrl": url("large"), "MaxNumberOfMessages": 10, "VisibilityTimeout": 0 });
        let asked = request("ReceiveMessage", &asked.to_string());
        // WHY: several at once, so that one more is made when the system takes the first.
        (0..20).try_for_each(|_| stream.write_all(&asked))?;
        until_closed_unread(&stream)
    }),
];

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\nx-amz-target: AmazonSQS.SendMessage\r\n\
    transfer-encoding: chunked\r\n\r\n";

pub(crate) fn main(args: &BombsArgs) -> ExitCode {
    if counted_with(args, true).failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A few of each kind as one test each.
pub(crate) fn counted() -> Counts {
    counted_with(&BombsArgs { connections: 24, only: None, program: None }, false)
}

fn counted_with(args: &BombsArgs, optimised: bool) -> Counts {
    match run(args, optimised) {
        Ok(counts) => counts,
        Err(error) => {
            eprintln!("bombs: {error}");
            Counts::one(false)
        }
    }
}

/// What came of one kind.
#[derive(Debug, Default)]
struct Came {
    ended: AtomicU64,
    never: AtomicU64,
}

fn run(args: &BombsArgs, optimised: bool) -> Result<Counts, Failure> {
    more_files()?;
    let program = match &args.program {
        Some(program) => program.canonicalize()?,
        None => programs::binary(optimised)?,
    };
    let dir = root().join("target/bombs");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let server = Server::start(&program, &dir, None, Guard::Nobody)?;
    fill(server.port)?;
    let id = server.id().ok_or("no process")?;
    println!("before: {} MiB at the peak", peak_mib(id)?);
    let bombs =
        BOMBS.iter().filter(|(name, _)| args.only.as_deref().is_none_or(|only| only == *name));
    let bombs: Vec<&Bomb> = bombs.collect();
    let came: BTreeMap<&str, Came> =
        bombs.iter().map(|(name, _)| (*name, Came::default())).collect();
    let (is_over, begun) = (AtomicBool::new(false), Instant::now());
    let honest = thread::scope(|scope| {
        let honest = scope.spawn(|| honest(server.port, &is_over));
        let thrown = bombs.iter().flat_map(|(name, throw)| {
            let came = came.get(name);
            (0..args.connections).map(move |_| (came, throw))
        });
        let thrown: Vec<_> = thrown
            .map(|(came, throw)| {
                let port = server.port;
                scope.spawn(move || {
                    let ended = throw(port);
                    let Some(came) = came else { return };
                    // WHY: whatever the server did with it, it is over; only one that lasts is wrong.
                    let lasts = ended.is_err_and(|error| error.kind() == ErrorKind::TimedOut);
                    let count = if lasts { &came.never } else { &came.ended };
                    count.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        thrown.into_iter().for_each(|thread| drop(thread.join()));
        is_over.store(true, Ordering::Relaxed);
        honest.join().unwrap_or_else(|_| Err("the honest client has panicked".into()))
    });
    println!("over after {:.1} s", begun.elapsed().as_secs_f64());
    let mut counts = Counts::default();
    for (name, Came { ended, never }) in &came {
        let (ended, never) = (ended.load(Ordering::Relaxed), never.load(Ordering::Relaxed));
        println!("{name:<28} {ended:>6} ended, {never:>4} not");
        counts = counts.plus(Counts::one(never == 0));
    }
    let peak = peak_mib(id)?;
    println!("{peak} MiB at the peak; {PEAK_MIB_MAX} are allowed");
    match &honest {
        Ok((served, slowest)) => {
            println!("the honest client: {served} served, the slowest in {slowest:?}")
        }
        Err(why) => println!("the honest client was not served: {why}"),
    }
    Ok(counts.plus(Counts::one(peak < PEAK_MIB_MAX)).plus(Counts::one(honest.is_ok())))
}

/// Lets this process and the server it starts have as many files as the system allows.
pub(super) fn more_files() -> Result<u64, Failure> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// The most that a process ever held.
fn peak_mib(id: u32) -> Result<u64, Failure> {
    memory_kib(id, "VmHWM:").map(|kib| kib / 1_024)
}

/// What a process holds, by the name of the line in its status.
pub(super) fn memory_kib(id: u32, name: &str) -> Result<u64, Failure> {
    let status = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no such line")?;
    Ok(kib.parse()?)
}

/// A queue of messages of 256 KiB, and one for the honest client.
fn fill(port: u16) -> Result<(), Failure> {
    let mut client = Client::new(port);
    for name in ["large", "small"] {
        ask(&mut client, "CreateQueue", &json!({ "QueueName": name }))?;
    }
    for n in 0..40 {
        let body = format!("{n}{}", "x".repeat((256 << 10) - 10));
        ask(&mut client, "SendMessage", &json!({ "QueueUrl": url("large"), "MessageBody": body }))?;
    }
    Ok(())
}

fn ask(client: &mut Client, action: &str, members: &Value) -> Result<Value, Failure> {
    match client.ask(action, members)? {
        Said::Done(done) => Ok(done),
        Said::Refused(why) => Err(format!("{action}: {why}").into()),
    }
}

/// Sends, receives and deletes until it is over; how often, and the slowest of all.
fn honest(port: u16, is_over: &AtomicBool) -> Result<(u64, Duration), String> {
    let (mut client, mut served, mut slowest) = (Client::new(port), 0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let worked = (|| {
            let queue = url("small");
            let sent = json!({ "QueueUrl": queue, "MessageBody": "hello" });
            ask(&mut client, "SendMessage", &sent)?;
            let received = ask(&mut client, "ReceiveMessage", &json!({ "QueueUrl": queue }))?;
            let handle = received.pointer("/Messages/0/ReceiptHandle").ok_or("no message")?;
            let deleted = json!({ "QueueUrl": queue, "ReceiptHandle": handle });
            ask(&mut client, "DeleteMessage", &deleted)
        })();
        worked.map_err(|error: Failure| error.to_string())?;
        served += 1;
        slowest = slowest.max(begun.elapsed());
        if slowest > PATIENCE {
            return Err(format!("a message took {slowest:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok((served, slowest))
}

fn request(action: &str, body: &str) -> Vec<u8> {
    // Its host is of no meaning.
    signed(0, action, body, Timestamp::now())
}

fn text_of(bytes: usize) -> String {
    format!("{{\"QueueUrl\":\"{}\",\"MessageBody\":\"{}\"}}", url("large"), "x".repeat(bytes))
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ENDED_WITHIN))?;
    stream.set_write_timeout(Some(ENDED_WITHIN))?;
    Ok(stream)
}

/// Sends a whole request, over and over, and reads the answers: ten times.
fn send(port: u16, request: &[u8]) -> std::io::Result<()> {
    for _ in 0..10 {
        let mut stream = connect(port)?;
        // It may be refused before it is read.
        let _ = stream.write_all(request);
        let answered = answer(&mut BufReader::new(&stream));
        if let Err(error) = answered
            && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Sends the same again and again until the server has had enough.
fn endless(stream: &mut TcpStream, part: &[u8]) -> std::io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < ENDED_WITHIN {
        stream.write_all(part)?;
    }
    Err(ErrorKind::TimedOut.into())
}

/// Sends a byte now and then.
fn drip(mut stream: TcpStream) -> std::io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < ENDED_WITHIN {
        stream.write_all(b"y")?;
        thread::sleep(DRIP);
    }
    Err(ErrorKind::TimedOut.into())
}

/// Until the server has closed it, without reading.
fn until_closed_unread(stream: &TcpStream) -> std::io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < ENDED_WITHIN {
        if stream.take_error()?.is_some() || is_gone(stream)? {
            return stream.shutdown(Shutdown::Both);
        }
        thread::sleep(DRIP);
    }
    Err(ErrorKind::TimedOut.into())
}

/// WHY: one that reads nothing learns of a reset when it writes.
fn is_gone(mut stream: &TcpStream) -> std::io::Result<bool> {
    match stream.write(b"\r") {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(_) => Ok(true),
    }
}
