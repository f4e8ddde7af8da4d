//! A server that only reads requests and answers the same bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;

use super::client::Client;
use super::{Done, queue, serve};

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
pub(super) async fn bare(bytes: usize, batch: usize) -> Done<SocketAddr> {
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
