//! `idle-polls`: receives that wait, very many of them: what each holds, what all of them cost while nothing
//! comes, and how soon one of them has what comes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::bombs::{memory_kib, more_files};
use super::client::{Client, answer, signed};
use super::server::{Guard, Server};
use super::work::url;
use crate::cargo::{Counts, root};
use crate::programs;
use crate::workload::Failure;

/// What a poll may hold, in bytes.
const BYTES_MAX: u64 = 20 << 10;
/// What all of them may cost, in hundredths of a core.
const CPU_PERCENT_MAX: f64 = 1.0;
/// How long a receive waits, in seconds: the longest that there is.
const WAIT: u64 = 20;
/// Files beside the connections.
const SPARE_FILES: u64 = 200;
/// Ticks of a second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// How `idle-polls` is run.
#[derive(Debug, Args)]
pub(crate) struct IdlePollsArgs {
    /// Receives that wait at the same time
    #[arg(long, default_value_t = 10_000)]
    polls: usize,
    /// Seconds in which the processor is looked at; all polls have to be begun and to wait still
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
}

pub(crate) fn main(args: &IdlePollsArgs) -> ExitCode {
    match run(args) {
        Ok(Counts { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("idle-polls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &IdlePollsArgs) -> Result<Counts, Failure> {
    let IdlePollsArgs { polls, seconds } = *args;
    let files = more_files()?;
    if files < polls as u64 + SPARE_FILES {
        let why =
            format!("{polls} polls need as many files and {files} may be open; ulimit -Hn tells");
        return Err(why.into());
    }
    let program = programs::binary(true)?;
    let dir = root().join("target/idle-polls");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let server = Server::start(&program, &dir, None, Guard::Keys)?;
    let id = server.id().ok_or("no process")?;
    let mut client = Client::new(server.port);
    client.ask("CreateQueue", &json!({ "QueueName": "idle" }))?;
    let before = memory_kib(id, "VmRSS:")?;
    let asked = json!({ "QueueUrl": url("idle"), "WaitTimeSeconds": WAIT }).to_string();
    let begun = Instant::now();
    let mut waiting = Vec::with_capacity(polls);
    for _ in 0..polls {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port))?;
        stream.write_all(&signed(server.port, "ReceiveMessage", &asked, Timestamp::now()))?;
        waiting.push(stream);
    }
    // All are read when one that came last is served.
    client.ask("GetQueueUrl", &json!({ "QueueName": "idle" }))?;
    settle_down(id)?;
    let after = memory_kib(id, "VmRSS:")?;
    let each = after.saturating_sub(before) * 1_024 / polls.max(1) as u64;
    let (ticks, at) = (ticks(id)?, Instant::now());
    thread::sleep(Duration::from_secs_f64(seconds));
    let percent = (self::ticks(id)? - ticks) / TICKS / at.elapsed().as_secs_f64() * 100.0;
    let is_whole = begun.elapsed() < Duration::from_secs(WAIT);
    let sent = Instant::now();
    client.ask("SendMessage", &json!({ "QueueUrl": url("idle"), "MessageBody": "hello" }))?;
    let first = first_answer(&mut waiting)?;
    let woken = sent.elapsed();
    println!("{polls} polls wait; {each} bytes each ({BYTES_MAX} are allowed)");
    println!("{percent:.2} % of a core in {seconds} s (less than {CPU_PERCENT_MAX} % is allowed)");
    println!("the message was there after {:.1} ms", woken.as_secs_f64() * 1_000.0);
    let mut counts = Counts::one(each <= BYTES_MAX).plus(Counts::one(percent < CPU_PERCENT_MAX));
    if !is_whole {
        eprintln!("some polls ended before the look was over: this machine began them too slowly");
    }
    counts = counts.plus(Counts::one(is_whole));
    Ok(counts.plus(Counts::one(first.contains("hello"))))
}

/// Waits until the server has nothing to do.
fn settle_down(id: u32) -> Result<(), Failure> {
    let mut last = ticks(id)?;
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = ticks(id)?;
        if now - last <= 1.0 {
            return Ok(());
        }
        last = now;
    }
}

/// The processor's time that a process has had, in ticks.
fn ticks(id: u32) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |n: usize| fields.get(n).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(field(11) + field(12))
}

/// The body of the first answer that any of them has.
fn first_answer(waiting: &mut [TcpStream]) -> Result<String, Failure> {
    waiting.iter().try_for_each(|stream| stream.set_nonblocking(true))?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(WAIT) {
        for stream in &mut *waiting {
            if stream.peek(&mut [0]).is_ok() {
                stream.set_nonblocking(false)?;
                let mut answered = BufReader::new(stream);
                answered.fill_buf()?;
                return Ok(String::from_utf8_lossy(&answer(&mut answered)?.1).into_owned());
            }
        }
    }
    Err("no poll has the message".into())
}
