//! The SQS server beside one that only reads requests and answers the same bytes, and beside others that
//! speak the protocol.
//!
//! All are driven by the same client over keep-alive connections, round by round in turn: each
//! connection sends a message, receives one and deletes it, over and over, or ten of each in a batch.

mod bare;
mod client;
mod others;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tidegate::{Broker, ConnectOptions, connect_with};
use tidegate_server::sqs::{Options, Service};
use tidegate_server::{Limits, Listen, Server};

use crate::durability::Durability;
use bare::bare;
use client::{Client, handles};

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How `sqs` is run.
#[derive(Args, Debug)]
pub(crate) struct SqsArgs {
    /// Connections at the same time; can be given several times
    #[arg(long, default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Messages in a request; can be given several times
    #[arg(long, default_values_t = [1, 10])]
    batch: Vec<usize>,
    /// Bytes of a body
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Rounds; the median is told
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// When the engine syncs; can be given several times
    #[arg(long, value_enum, default_values_t = [Durability::Always, Durability::Never])]
    durability: Vec<Durability>,
    /// Leaves this one out: `moto` or `elasticmq`; can be given several times
    #[arg(long)]
    without: Vec<String>,
}

/// What is measured.
struct Row {
    name: &'static str,
    address: SocketAddr,
    url: String,
    rates: Vec<f64>,
    /// Why it is not measured any more.
    failure: Option<String>,
}

/// Measures, and prints a table for each number of connections and messages.
pub(crate) async fn run(args: &SqsArgs) -> Result<(), String> {
    measure(args).await.map_err(|error| error.to_string())
}

async fn measure(args: &SqsArgs) -> Done<()> {
    println!(
        "{} bytes, requests/s of send, receive and delete in turn, median of {} rounds of {} s",
        args.bytes, args.rounds, args.seconds
    );
    let others = others::start(&args.without).await?;
    for &batch in &args.batch {
        let bare = bare(args.bytes, batch).await?;
        let dir = tempfile::tempdir()?;
        let mut served = Vec::new();
        for &durability in &args.durability {
            let broker =
                engine(&dir.path().join(format!("{}-{batch}", durability.as_str())), durability)
                    .await?;
            served.push((durability, serve(broker).await?));
        }
        for &connections in &args.connections {
            let url = "http://localhost/000000000000/q".to_owned();
            let mut rows =
                vec![Row { name: "bare", address: bare, url, rates: vec![], failure: None }];
            for (durability, (_, address)) in &served {
                let name = match durability {
                    Durability::Always => "engine, fsync always",
                    Durability::Interval => "engine, fsync a second",
                    Durability::Never => "engine, no fsync",
                };
                let url = queue(*address, &format!("q{connections}x{batch}")).await?;
                rows.push(Row { name, address: *address, url, rates: vec![], failure: None });
            }
            for other in &others {
                let url = queue(other.address, &format!("q{connections}x{batch}")).await?;
                let (name, address) = (other.name, other.address);
                rows.push(Row { name, address, url, rates: vec![], failure: None });
            }
            for _ in 0..args.rounds {
                for row in rows.iter_mut().filter(|row| row.failure.is_none()) {
                    match rate(row.address, &row.url, connections, batch, args).await {
                        Ok(rate) => row.rates.push(rate),
                        Err(error) => row.failure = Some(error.to_string()),
                    }
                }
            }
            print(connections, batch, &mut rows);
        }
        for (_, (server, _)) in served {
            server.stop(Duration::from_secs(10)).await;
        }
    }
    Ok(())
}

fn print(connections: usize, batch: usize, rows: &mut [Row]) {
    println!("\n{connections} connections, {batch} to a request");
    let mut of_bare = 0.0;
    for Row { name, rates, failure, .. } in rows {
        if let Some(failure) = failure {
            println!("  {name:22} failed: {}", failure.trim());
            continue;
        }
        rates.sort_by(f64::total_cmp);
        let median = rates.get(rates.len() / 2).copied().unwrap_or_default();
        if *name == "bare" {
            of_bare = median;
        }
        println!("  {name:22} {median:9.0}  {:5.2} of bare", median / of_bare);
    }
}

async fn engine(dir: &Path, durability: Durability) -> Done<Broker> {
    let url = format!("embedded:{}", dir.display());
    let durability = Some(durability.of_engine());
    Ok(connect_with(&url, ConnectOptions { durability, ..ConnectOptions::default() }).await?)
}

async fn serve(broker: Broker) -> Done<(Server, SocketAddr)> {
    let server = Server::new(Service::new(broker, Options::default())?, Limits::default());
    let address = server.listen(Listen::open(([127, 0, 0, 1], 0).into())).await?;
    Ok((server, address))
}

/// Makes a queue and tells its address.
async fn queue(address: SocketAddr, name: &str) -> Done<String> {
    let mut client = Client::connect(address).await?;
    client.ask("CreateQueue", &format!("{{\"QueueName\":\"{name}\"}}")).await?;
    let made: Value = serde_json::from_slice(&client.body)?;
    let url = made.get("QueueUrl").and_then(Value::as_str);
    Ok(url.ok_or("no URL")?.to_owned())
}

async fn rate(
    address: SocketAddr,
    url: &str,
    connections: usize,
    batch: usize,
    args: &SqsArgs,
) -> Done<f64> {
    let body = "x".repeat(args.bytes);
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(args.seconds);
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (url, body) = (url.to_owned(), body.clone());
            tokio::spawn(async move { work(address, &url, &body, batch, until).await })
        })
        .collect();
    let mut requests = 0;
    for task in tasks {
        requests += task.await??;
    }
    Ok(requests as f64 / begun.elapsed().as_secs_f64())
}

async fn work(
    address: SocketAddr,
    url: &str,
    body: &str,
    batch: usize,
    until: Instant,
) -> Done<u64> {
    let mut client = Client::connect(address).await?;
    let entries = |entry: &dyn Fn(usize) -> String| {
        let entries: Vec<String> =
            (0..batch).map(|n| format!("{{\"Id\":\"{n}\",{}}}", entry(n))).collect();
        format!("{{\"QueueUrl\":\"{url}\",\"Entries\":[{}]}}", entries.join(","))
    };
    let send = match batch {
        1 => format!("{{\"QueueUrl\":\"{url}\",\"MessageBody\":\"{body}\"}}"),
        _ => entries(&|_| format!("\"MessageBody\":\"{body}\"")),
    };
    let receive = format!("{{\"QueueUrl\":\"{url}\",\"MaxNumberOfMessages\":{batch}}}");
    let mut requests = 0;
    while Instant::now() < until {
        client.ask(if batch == 1 { "SendMessage" } else { "SendMessageBatch" }, &send).await?;
        client.ask("ReceiveMessage", &receive).await?;
        requests += 2;
        let handles = handles(&client.body);
        if handles.is_empty() {
            continue;
        }
        match handles.as_slice() {
            [handle] if batch == 1 => {
                let delete = format!("{{\"QueueUrl\":\"{url}\",\"ReceiptHandle\":\"{handle}\"}}");
                client.ask("DeleteMessage", &delete).await?;
            }
            handles => {
                let delete: Vec<String> = handles
                    .iter()
                    .enumerate()
                    .map(|(n, handle)| format!("{{\"Id\":\"{n}\",\"ReceiptHandle\":\"{handle}\"}}"))
                    .collect();
                let delete =
                    format!("{{\"QueueUrl\":\"{url}\",\"Entries\":[{}]}}", delete.join(","));
                client.ask("DeleteMessageBatch", &delete).await?;
            }
        }
        requests += 1;
    }
    Ok(requests)
}
