//! A plain HTTP client that speaks both wire forms, by tables of its own.

pub(crate) mod forms;

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Query,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// An error of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) status: u16,
    /// As forms call it.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// One connection, and whose requests go over it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) form: Form,
    pub(crate) access_key: String,
    pub(crate) region: String,
    stream: Mutex<Option<BufReader<TcpStream>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, form: Form) -> Self {
        let (access_key, region) = ("test".into(), "us-east-1".into());
        Self { address, form, access_key, region, stream: Mutex::new(None) }
    }

    /// Another connection of the same.
    pub(crate) fn another(&self) -> Self {
        Self {
            access_key: self.access_key.clone(),
            region: self.region.clone(),
            ..Self::new(self.address, self.form)
        }
    }

    pub(crate) fn whose(self, access_key: &str, region: &str) -> Self {
        Self { access_key: access_key.into(), region: region.into(), ..self }
    }

    /// Asks, and takes the answer apart.
    pub(crate) async fn ask(&self, action: &str, members: &Value) -> Result<Value, Failed> {
        let answer = match self.form {
            Form::Json => {
                let target = format!("AmazonSQS.{action}");
                let headers = [("x-amz-target", target.as_str()), JSON];
                self.send("POST", "/", &headers, members.to_string().as_bytes()).await
            }
            Form::Query => {
                let form = forms::form(action, members);
                self.send("POST", "/", &[FORM], form.as_bytes()).await
            }
        };
        self.read(action, &answer)
    }

    fn read(&self, action: &str, answer: &Answer) -> Result<Value, Failed> {
        assert!(answer.header("x-amzn-requestid").is_some(), "{answer:?}");
        if self.form == Form::Query {
            return forms::answer(action, answer.status, &answer.body);
        }
        if answer.status == 200 {
            return Ok(match answer.body.as_str() {
                "" => Value::Null,
                body => serde_json::from_str(body).unwrap(),
            });
        }
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let (code, fault) = answer.header("x-amzn-query-error").unwrap().split_once(';').unwrap();
        assert_eq!(fault, if answer.status < 500 { "Sender" } else { "Receiver" });
        assert!(body["__type"].as_str().unwrap().contains('#'), "{body}");
        Err(Failed {
            status: answer.status,
            code: code.to_owned(),
            message: body["message"].as_str().unwrap().to_owned(),
        })
    }

    /// Sends a request over the connection, which stays open.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.stream.lock().await;
        if stream.is_none() {
            let connected = TcpStream::connect(self.address).await.unwrap();
            *stream = Some(BufReader::new(connected));
        }
        let stream = stream.as_mut().unwrap();
        let head = self.head(method, path, headers, body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        answer(stream).await
    }

    pub(crate) fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> String {
        let Self { address, access_key, region, .. } = self;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nauthorization: \
             AWS4-HMAC-SHA256 Credential={access_key}/20260101/{region}/sqs/aws4_request, \
             SignedHeaders=host, Signature=00\r\n"
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.0");
pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Reads one answer.
pub(crate) async fn answer(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Answer {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}"));
    let status = status.parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    answer.body = String::from_utf8(body).unwrap();
    answer
}
