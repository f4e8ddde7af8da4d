//! A client that costs as little as it can beside the server.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::Done;

/// What every SDK sends. No server here checks it; moto tells by it which service is meant.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/sqs/aws4_request, \
                      SignedHeaders=host, Signature=00";

pub(super) struct Client {
    address: SocketAddr,
    /// Whether the server has ended the connection.
    is_closed: bool,
    stream: BufReader<TcpStream>,
    line: String,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Done<Self> {
        let stream = connected(address).await?;
        Ok(Self { address, is_closed: false, stream, line: String::new(), body: Vec::new() })
    }

    pub(super) async fn ask(&mut self, action: &str, body: &str) -> Done<()> {
        if self.is_closed {
            self.stream = connected(self.address).await?;
            self.is_closed = false;
        }
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nauthorization: {SIGNED}\r\nx-amz-target: \
             AmazonSQS.{action}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: \
             {}\r\n\r\n{body}",
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
            let (name, told) = self.line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = told.trim().parse()?;
            }
            self.is_closed |= name.eq_ignore_ascii_case("connection") && told.trim() == "close";
            if self.line == "\r\n" {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await?;
        Ok(())
    }
}

async fn connected(address: SocketAddr) -> Done<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// The handles in an answer, which is not read as JSON.
pub(super) fn handles(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body);
    let handle = |part: &str| part.split('"').next().map(str::to_owned);
    text.split("\"ReceiptHandle\":\"").skip(1).filter_map(handle).collect()
}
