//! The SQS server beside one that only reads requests and answers the same bytes.
//!
//! Both are driven by the same client over keep-alive connections, round by round in turn: each
//! connection sends a message, receives one and deletes it, over and over, or ten of each in a batch.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tidegate::{Broker, ConnectOptions, connect_with};
use tidegate_server::sqs::{Options, Service};
use tidegate_server::{Limits, Listen, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::durability::Durability;

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
}

/// What is measured.
struct Row {
    name: &'static str,
    address: SocketAddr,
    url: String,
    rates: Vec<f64>,
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
    for &batch in &args.batch {
        let bare = bare(args.bytes, batch).await?;
        let dir = tempfile::tempdir()?;
        let mut served = Vec::new();
        for durability in [Durability::Always, Durability::Never] {
            let broker =
                engine(&dir.path().join(format!("{}-{batch}", durability.as_str())), durability)
                    .await?;
            served.push((durability.as_str(), serve(broker).await?));
        }
        for &connections in &args.connections {
            let url = "http://localhost/000000000000/q".to_owned();
            let mut rows = vec![Row { name: "bare", address: bare, url, rates: vec![] }];
            for (name, (_, address)) in &served {
                let name =
                    if *name == "always" { "engine, fsync always" } else { "engine, no fsync" };
                let url = queue(*address, &format!("q{connections}x{batch}")).await?;
                rows.push(Row { name, address: *address, url, rates: vec![] });
            }
            for _ in 0..args.rounds {
                for row in &mut rows {
                    let rate = rate(row.address, &row.url, connections, batch, args).await?;
                    row.rates.push(rate);
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
    for Row { name, rates, .. } in rows {
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

/// WHY: not read as JSON, so that the client costs as little as it can beside the server.
fn handles(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let handle = |part: &str| part.split('"').next().map(str::to_owned);
    text.split("\"ReceiptHandle\":\"").skip(1).filter_map(handle).collect()
}

struct Client {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Done<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    async fn ask(&mut self, action: &str, body: &str) -> Done<()> {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: AmazonSQS.{action}\r\ncontent-type: \
             application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut length = 0;
        let mut is_first = true;
        loop {
            self.line.clear();
            if self.stream.read_line(&mut self.line).await? == 0 {
                return Err("the server has gone".into());
            }
            if is_first && !self.line.starts_with("HTTP/1.1 200") {
                return Err(format!("{action}: {}", self.line).into());
            }
            is_first = false;
            if let Some(told) = self.line.strip_prefix("content-length: ") {
                length = told.trim().parse()?;
            }
            if self.line == "\r\n" {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await?;
        Ok(())
    }
}

/// What the bare server reads of a request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Read<'a> {
    queue_url: &'a str,
    #[serde(default)]
    message_body: &'a str,
    #[serde(default)]
    receipt_handle: &'a str,
    #[serde(default, borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(default)]
    message_body: &'a str,
    #[serde(default)]
    receipt_handle: &'a str,
}

/// What it answers: as many bytes as the real server does.
struct Canned {
    send: Bytes,
    receive: Bytes,
    delete: Bytes,
}

/// A server that reads requests and answers what the real one would, and does nothing.
async fn bare(bytes: usize, batch: usize) -> Done<SocketAddr> {
    let canned = Arc::new(can(bytes, batch).await?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let canned = canned.clone();
            tokio::spawn(async move {
                // Its clients decide when it ends.
                let _ = stream.set_nodelay(true);
                let service = service_fn(move |request| {
                    let canned = canned.clone();
                    async move { answer(&canned, request).await }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

/// Asks the real server.
async fn can(bytes: usize, batch: usize) -> Done<Canned> {
    let broker = tidegate::connect("memory:").await?;
    let (server, address) = serve(broker).await?;
    let url = queue(address, "q").await?;
    let mut client = Client::connect(address).await?;
    let body = "x".repeat(bytes);
    let entries: Vec<String> =
        (0..batch).map(|n| format!("{{\"Id\":\"{n}\",\"MessageBody\":\"{body}\"}}")).collect();
    let send = format!("{{\"QueueUrl\":\"{url}\",\"Entries\":[{}]}}", entries.join(","));
    let single = format!("{{\"QueueUrl\":\"{url}\",\"MessageBody\":\"{body}\"}}");
    match batch {
        1 => client.ask("SendMessage", &single).await?,
        _ => client.ask("SendMessageBatch", &send).await?,
    }
    let send = Bytes::from(client.body.clone());
    let receive = format!("{{\"QueueUrl\":\"{url}\",\"MaxNumberOfMessages\":{batch}}}");
    client.ask("ReceiveMessage", &receive).await?;
    let receive = Bytes::from(client.body.clone());
    let delete: Vec<String> = (0..batch).map(|n| format!("{{\"Id\":\"{n}\"}}")).collect();
    let delete = match batch {
        1 => String::new(),
        _ => format!("{{\"Successful\":[{}]}}", delete.join(",")),
    };
    server.stop(Duration::from_secs(1)).await;
    Ok(Canned { send, receive, delete: delete.into() })
}

async fn answer(
    canned: &Canned,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let target = parts.headers.get("x-amz-target").map_or(&b""[..], |it| it.as_bytes());
    let answer = match target {
        _ if read(&body) == 0 => Bytes::new(),
        b"AmazonSQS.ReceiveMessage" => canned.receive.clone(),
        b"AmazonSQS.SendMessage" | b"AmazonSQS.SendMessageBatch" => canned.send.clone(),
        _ => canned.delete.clone(),
    };
    let mut response = Response::new(Full::new(answer));
    let id = HeaderValue::from_static("00000000-0000-0000-0000-000000000000");
    response.headers_mut().insert("x-amzn-requestid", id);
    let kind = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// Reads a request and tells how much is in it.
fn read(body: &[u8]) -> usize {
    let Ok(read) = serde_json::from_slice::<Read<'_>>(body) else { return 0 };
    let Read { queue_url, message_body, receipt_handle, entries } = read;
    let in_entries = |entry: &Entry<'_>| entry.message_body.len() + entry.receipt_handle.len();
    let one = queue_url.len() + message_body.len() + receipt_handle.len();
    one + entries.iter().map(in_entries).sum::<usize>()
}
