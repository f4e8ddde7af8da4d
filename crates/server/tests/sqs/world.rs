//! What a case is handed: a server over a broker, a client, and the time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_core::{Broker, ManualClock};
use tidegate_server::sqs::{Options, Service};
use tidegate_server::{Limits, Listen, Server};

use crate::client::{Client, Failed, Form};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Engine,
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    server: Server,
    _dir: TempDir,
}

/// Long enough that nothing but a hang takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    pub(crate) async fn new(kind: Kind, form: Form, options: Options) -> Self {
        let (clock, dir) = (ManualClock::new(), tempfile::tempdir().unwrap());
        let broker = match kind {
            Kind::Memory => tidegate_core::memory::broker(Arc::new(clock.clone())),
            Kind::Engine => {
                let options = tidegate_engine::Options {
                    clock: Arc::new(clock.clone()),
                    ..tidegate_engine::Options::new(dir.path())
                };
                tidegate_engine::open(options).await.unwrap()
            }
        };
        let server = serve(&broker, options);
        let address = server.listen(Listen::open(([127, 0, 0, 1], 0).into())).await.unwrap();
        Self { clock, broker, client: Client::new(address, form), server, _dir: dir }
    }

    /// Another server over the same broker.
    pub(crate) async fn beside(&self) -> (Server, Client) {
        let server = serve(&self.broker, Options::default());
        let address = server.listen(Listen::open(([127, 0, 0, 1], 0).into())).await.unwrap();
        (server, Client::new(address, self.client.form))
    }

    pub(crate) async fn end(self) {
        assert!(self.server.stop(PATIENCE).await);
        self.broker.close().await.unwrap();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn ok(&self, action: &str, members: Value) -> Value {
        let answer = self.client.ask(action, &members).await;
        answer.unwrap_or_else(|failed| panic!("{action} {members}: {failed:?}"))
    }

    pub(crate) async fn err(&self, action: &str, members: Value) -> Failed {
        let answer = self.client.ask(action, &members).await;
        answer.expect_err(&format!("{action} {members}"))
    }

    /// Fails with this code and this text.
    pub(crate) async fn refused(&self, action: &str, members: Value, code: &str, message: &str) {
        let failed = self.err(action, members.clone()).await;
        assert_eq!(
            (failed.code.as_str(), failed.message.as_str()),
            (code, message),
            "{action} {members}"
        );
        assert_eq!(failed.status, 400);
    }

    /// Makes a queue and tells its URL.
    pub(crate) async fn queue(&self, name: &str) -> String {
        self.queue_with(name, json!({})).await
    }

    pub(crate) async fn queue_with(&self, name: &str, mut attributes: Value) -> String {
        if name.ends_with(".fifo") {
            attributes["FifoQueue"] = "true".into();
        }
        let made =
            self.ok("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        text(&made["QueueUrl"])
    }

    pub(crate) async fn attribute(&self, url: &str, name: &str) -> String {
        let asked = json!({ "QueueUrl": url, "AttributeNames": [name] });
        let told = self.ok("GetQueueAttributes", asked).await;
        text(&told["Attributes"][name])
    }

    pub(crate) async fn set(&self, url: &str, name: &str, value: &str) {
        self.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { name: value } }))
            .await;
    }

    pub(crate) async fn send(&self, url: &str, body: &str) -> Value {
        self.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": body })).await
    }

    /// Sends to a FIFO queue.
    pub(crate) async fn send_to(&self, url: &str, group: &str, id: &str, body: &str) -> Value {
        let members = json!({
            "QueueUrl": url, "MessageBody": body, "MessageGroupId": group, "MessageDeduplicationId": id,
        });
        self.ok("SendMessage", members).await
    }

    pub(crate) async fn receive_with(&self, url: &str, mut options: Value) -> Vec<Value> {
        options["QueueUrl"] = url.into();
        messages(&self.ok("ReceiveMessage", options).await)
    }

    /// Up to ten messages, at once.
    pub(crate) async fn receive(&self, url: &str) -> Vec<Value> {
        let options =
            json!({ "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0, "AttributeNames": ["All"] });
        self.receive_with(url, options).await
    }

    pub(crate) async fn one(&self, url: &str) -> Value {
        let mut received = self.receive(url).await;
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }

    pub(crate) async fn delete(&self, url: &str, message: &Value) {
        let handle = &message["ReceiptHandle"];
        self.ok("DeleteMessage", json!({ "QueueUrl": url, "ReceiptHandle": handle })).await;
    }

    pub(crate) async fn change(
        &self,
        url: &str,
        message: &Value,
        seconds: u64,
    ) -> Result<Value, Failed> {
        let members = json!({
            "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds,
        });
        self.client.ask("ChangeMessageVisibility", &members).await
    }

    /// Waits until `is_so`.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("waited for nothing: {what}"));
    }
}

fn serve(broker: &Broker, options: Options) -> Server {
    Server::new(Service::new(broker.clone(), options).unwrap(), Limits::default())
}

pub(crate) fn messages(answer: &Value) -> Vec<Value> {
    answer["Messages"].as_array().cloned().unwrap_or_default()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

pub(crate) fn bodies(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| text(&message["Body"])).collect()
}
