//! Who waits for a task is told when one becomes available: scripts publish it, one connection listens.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener};
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{ConnectionInfo, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::config::Config;

/// The pause before the connection is made again.
const PAUSE: Duration = Duration::from_millis(250);

/// The listening connection. It is made when somebody first waits.
pub(crate) struct Wake {
    channels: Arc<Channels>,
    closing: Event,
    wanted: mpsc::UnboundedSender<String>,
    listener: JoinHandle<()>,
}

#[derive(Default)]
struct Channels(Mutex<HashMap<String, Arc<Event>>>);

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wake")
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Wake {
    /// What is published on any server of a cluster is heard on each; one of those that were named is listened to.
    pub(crate) fn new(config: Config) -> Self {
        let channels = Arc::new(Channels::default());
        let (wanted, names) = mpsc::unbounded_channel();
        let listener = tokio::spawn(listen(config, channels.clone(), names));
        Self { channels, closing: Event::new(), wanted, listener }
    }

    /// Listens to a channel. What is told there from now on is heard, and once more when the connection has come up.
    pub(crate) fn listen(&self, channel: &str) -> EventListener {
        let mut channels = self.channels.0.lock().unwrap_or_else(PoisonError::into_inner);
        let event = channels.entry(channel.to_owned()).or_insert_with(|| {
            // The listener is gone only when this is.
            let _ = self.wanted.send(channel.to_owned());
            Arc::new(Event::new())
        });
        event.listen()
    }

    /// Listens to [`Wake::all`] alone.
    pub(crate) fn listen_to_close(&self) -> EventListener {
        self.closing.listen()
    }

    /// Lets all who wait look again.
    pub(crate) fn all(&self) {
        self.closing.notify(usize::MAX);
    }
}

impl Channels {
    fn tell(&self, channel: &str, count: usize) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = channels.get(channel) {
            event.notify_additional(count);
        }
    }

    fn tell_all(&self) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in channels.values() {
            event.notify(usize::MAX);
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

async fn listen(
    config: Config,
    channels: Arc<Channels>,
    mut wanted: mpsc::UnboundedReceiver<String>,
) {
    let Some(mut first) = wanted.recv().await else { return };
    for node in config.nodes().iter().cycle() {
        let patience = config.response_timeout;
        let connected = timeout(patience, connect(&config, node, &channels)).await;
        match connected.unwrap_or_else(|silent| Err(std::io::Error::from(silent).into())) {
            Ok((sink, stream)) => {
                match hear(sink, stream, &channels, &mut wanted, patience).await {
                    Some(()) => tracing::debug!("the connection that listens was lost"),
                    None => return,
                }
            }
            Err(error) => {
                tracing::debug!(%error, channel = first, "nobody can be told of tasks yet")
            }
        }
        first.clear();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(
    config: &Config,
    node: &ConnectionInfo,
    channels: &Channels,
) -> redis::RedisResult<(PubSubSink, PubSubStream)> {
    let (mut sink, stream) = config.client(node)?.get_async_pubsub().await?.split();
    sink.subscribe(channels.names()).await?;
    // WHY: what was told before this was not heard.
    channels.tell_all();
    Ok((sink, stream))
}

/// Passes on what is told until the connection ends, or is silent when it is asked; `None` if nobody listens any more.
async fn hear(
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    channels: &Channels,
    wanted: &mut mpsc::UnboundedReceiver<String>,
    patience: Duration,
) -> Option<()> {
    let mut ask = tokio::time::interval(patience);
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Some(()) };
                let count = message.get_payload().unwrap_or(usize::MAX);
                channels.tell(message.get_channel_name(), count);
            }
            name = wanted.recv() => {
                let name = name?;
                if !is_heard(&timeout(patience, sink.subscribe(&name)).await) {
                    return Some(());
                }
                channels.tell(&name, usize::MAX);
            }
            _ = ask.tick() => {
                if !is_heard(&timeout(patience, sink.ping::<Value>()).await) {
                    return Some(());
                }
            }
        }
    }
}

/// Whether the server answered, in time.
fn is_heard<T>(answer: &Result<RedisResult<T>, Elapsed>) -> bool {
    matches!(answer, Ok(Ok(_)))
}
