//! What clients do while servers are killed, and what they write down of it.
//!
//! A message is called by its body, which nobody else sends. What is certain is written as such: a delete
//! counts as carried out only if it was answered while its lease certainly held, because SQS calls every
//! delete a success; and as refused once a newer delivery is known.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tidegate_conformance::history::{Answer, Decided, Event, Outcome, What};

use super::asker::Asker;
use super::client::Said;
use crate::sdks::client::Client as Sdk;
use crate::workload::now_us;

/// The queues: standard with dead letters, and FIFO.
pub(super) const QUEUES: [&str; 2] = ["work", "lines.fifo"];
pub(super) const GRAVES: &str = "graves";
/// Seconds for which a message is held.
const VISIBILITY: u64 = 1;
/// How exact leases are, in microseconds: the broker counts in milliseconds.
const TICK_US: u64 = 3_000;
/// Handles that are kept to be presented when they are stale, for each consumer.
const KEPT_MAX: usize = 20;
/// Waited after a server was not there.
const AWAY: Duration = Duration::from_millis(10);
/// Groups of the FIFO queue.
const GROUPS: usize = 5;

/// What all clients share.
#[derive(Debug, Default)]
pub(super) struct Ground {
    ports: Vec<u16>,
    /// Who asks, in turn; none: plain clients.
    sdks: Vec<Sdk>,
    /// How many there were.
    hands: AtomicUsize,
    pub(super) is_over: AtomicBool,
    events: Mutex<Vec<Event>>,
    /// The newest delivery of each message: its token, and when it was asked for.
    newest: Mutex<HashMap<String, (u64, u64)>>,
    pub(super) sent: AtomicU64,
    /// Stale handles that were presented.
    pub(super) stale: AtomicU64,
    /// What no history shows: that a message was gone from under a lease that held, or an SDK's process.
    pub(super) wrong: Mutex<Vec<String>>,
}

impl Ground {
    pub(super) fn new(ports: Vec<u16>, sdks: &[Sdk]) -> Self {
        Self { ports, sdks: sdks.to_vec(), ..Self::default() }
    }

    /// Who asks next.
    fn asker(&self) -> io::Result<Asker> {
        let number = self.hands.fetch_add(1, Ordering::Relaxed);
        match self.sdks.get(number % self.sdks.len().max(1)) {
            None => Ok(Asker::plain(&self.ports)),
            Some(sdk) => Asker::of(*sdk, &self.ports),
        }
    }

    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.events))
    }

    pub(super) fn write(
        &self,
        client: &str,
        start_us: u64,
        outcome: Outcome,
        whats: impl IntoIterator<Item = What>,
    ) {
        let end_us = now_us();
        let event = |what| Event { client: client.into(), start_us, end_us, outcome, what };
        lock(&self.events).extend(whats.into_iter().map(event));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a queue. Its host is of no meaning.
pub(super) fn url(queue: &str) -> String {
    format!("http://127.0.0.1/000000000000/{queue}")
}

/// One client, on any of the servers that is there.
#[derive(Debug)]
pub(super) struct Hand<'a> {
    ground: &'a Ground,
    name: String,
    asker: Asker,
    at: usize,
    rng: Rng,
    kept: Vec<Held>,
}

/// A message in hand.
#[derive(Clone, Debug)]
struct Held {
    name: String,
    handle: String,
    token: u64,
    /// When its receive was begun and answered.
    asked_us: u64,
    had_us: u64,
}

impl<'a> Hand<'a> {
    /// # Errors
    /// If an SDK's process does not start.
    pub(super) fn new(ground: &'a Ground, name: String, seed: u64) -> io::Result<Self> {
        let (asker, mut rng) = (ground.asker()?, Rng::with_seed(seed));
        let at = rng.usize(0..asker.servers().max(1));
        Ok(Self { ground, name, asker, at, rng, kept: Vec::new() })
    }

    /// Asks the server it is at. One that does not answer is left for the next. `None` without an answer.
    fn ask(&mut self, action: &str, members: &Value) -> Option<Said> {
        let said = self.asker.ask(self.at, action, members).unwrap_or_else(|error| {
            // WHY: nothing that others write down makes up for one who has stopped asking.
            lock(&self.ground.wrong).push(format!("{} asks no more: {error}", self.name));
            self.ground.is_over.store(true, Ordering::Relaxed);
            None
        });
        if said.is_none() {
            self.at = (self.at + 1) % self.asker.servers().max(1);
            thread::sleep(AWAY);
        }
        said
    }

    /// Asks until there is an answer.
    pub(super) fn insist(&mut self, action: &str, members: &Value) -> Result<Value, String> {
        for _ in 0..3_000 {
            match self.ask(action, members) {
                Some(Said::Done(done)) => return Ok(done),
                Some(Said::Refused(why)) => return Err(format!("{action}: {why}")),
                None => {}
            }
        }
        Err(format!("{action}: no server answers"))
    }

    pub(super) fn make_queues(&mut self) -> Result<(), String> {
        let dead = "{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:graves\",\"maxReceiveCount\":6}";
        let visibility = VISIBILITY.to_string();
        let queues = [
            json!({ "QueueName": GRAVES, "Attributes": { "VisibilityTimeout": "600" } }),
            json!({ "QueueName": "work", "Attributes": { "VisibilityTimeout": visibility, "RedrivePolicy": dead } }),
            json!({ "QueueName": "lines.fifo", "Attributes": { "VisibilityTimeout": visibility, "FifoQueue": "true" } }),
        ];
        queues.iter().try_for_each(|queue| self.insist("CreateQueue", queue).map(drop))
    }

    /// Sends, alone and in batches, until it is over.
    pub(super) fn produce(mut self) {
        let mut seq = 0;
        while !self.ground.is_over.load(Ordering::Relaxed) {
            let queue = if self.rng.bool() { "work" } else { "lines.fifo" };
            let count = if self.rng.bool() { 1 } else { self.rng.usize(2..=10) };
            self.send(queue, count, &mut seq);
        }
    }

    fn send(&mut self, queue: &str, count: usize, seq: &mut u64) {
        let group = format!("g{}", self.rng.usize(0..GROUPS));
        let is_fifo = queue != "work";
        let (mut whats, mut entries) = (Vec::new(), Vec::new());
        for n in 0..count {
            *seq += 1;
            let id = format!("{}-{seq}", self.name);
            let delay = if is_fifo || self.rng.u8(0..8) > 0 { 0 } else { 1 };
            let mut entry = json!({ "Id": n.to_string(), "MessageBody": id });
            let members = entry.as_object_mut();
            members.into_iter().for_each(|entry| match is_fifo {
                true => entry.extend([
                    ("MessageGroupId".to_owned(), json!(group)),
                    ("MessageDeduplicationId".to_owned(), json!(id)),
                ]),
                false => entry.extend([("DelaySeconds".to_owned(), json!(delay))]),
            });
            entries.push(entry);
            whats.push(What::Enqueued {
                queue: queue.into(),
                id,
                key: is_fifo.then(|| group.clone()),
                producer: self.name.clone(),
                seq: *seq,
                delay_us: (u64::from(delay as u8) * 1_000_000).saturating_sub(TICK_US),
                dedup: None,
            });
        }
        let start = now_us();
        let asked = json!({ "QueueUrl": url(queue), "Entries": entries });
        let said = self.ask("SendMessageBatch", &asked);
        let done = match &said {
            Some(Said::Done(done)) => done.get("Successful").and_then(Value::as_array),
            _ => None,
        };
        let outcome = match (said.is_some(), done.map_or(0, Vec::len)) {
            (true, sent) if sent == count => Outcome::Ok,
            (true, 0) => Outcome::Fail,
            _ => Outcome::Unknown,
        };
        if outcome == Outcome::Ok {
            self.ground.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        self.ground.write(&self.name, start, outcome, whats);
    }

    /// Receives and decides until it is over.
    pub(super) fn consume(mut self, queue: &str) {
        while !self.ground.is_over.load(Ordering::Relaxed) {
            let most = self.rng.usize(1..=10);
            for held in self.receive(queue, most, 1).unwrap_or_default() {
                self.decide(queue, held);
            }
            if self.rng.u8(0..4) == 0 && !self.kept.is_empty() {
                let held = self.kept.swap_remove(self.rng.usize(0..self.kept.len()));
                self.present(queue, &held);
            }
        }
    }

    /// `None` without an answer.
    fn receive(&mut self, queue: &str, most: usize, wait: u64) -> Option<Vec<Held>> {
        let asked = json!({
            "QueueUrl": url(queue), "MaxNumberOfMessages": most, "WaitTimeSeconds": wait,
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        });
        let asked_us = now_us();
        let Some(Said::Done(done)) = self.ask("ReceiveMessage", &asked) else { return None };
        let had_us = now_us();
        let text = |value: &Value, name: &str| {
            value.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (mut helds, mut whats) = (Vec::new(), Vec::new());
        for message in done.get("Messages").and_then(Value::as_array).into_iter().flatten() {
            let (name, handle) = (text(message, "/Body"), text(message, "/ReceiptHandle"));
            let attempt = text(message, "/Attributes/ApproximateReceiveCount").parse().unwrap_or(0);
            let mut hasher = DefaultHasher::new();
            handle.hash(&mut hasher);
            let token = hasher.finish();
            whats.push(What::Received {
                queue: queue.into(),
                id: name.clone(),
                token,
                lease_us: VISIBILITY * 1_000_000 - TICK_US,
                attempt,
                deliveries: attempt,
            });
            helds.push(Held { name, handle, token, asked_us, had_us });
        }
        self.ground.write(&self.name, asked_us, Outcome::Ok, whats);
        let mut newest = lock(&self.ground.newest);
        for held in &helds {
            let newer = (held.token, held.asked_us);
            let known = newest.entry(held.name.clone()).or_insert(newer);
            if known.1 < held.asked_us {
                *known = newer;
            }
        }
        drop(newest);
        Some(helds)
    }

    fn decide(&mut self, queue: &str, held: Held) {
        match self.rng.u8(0..100) {
            0..60 => self.delete(queue, &held),
            60..72 => drop(self.change(queue, &held, 0)),
            72..82 => {
                self.change(queue, &held, VISIBILITY + 1);
                self.delete(queue, &held);
            }
            _ => {
                if self.kept.len() == KEPT_MAX {
                    self.kept.swap_remove(self.rng.usize(0..KEPT_MAX));
                }
                self.kept.push(held);
            }
        }
    }

    /// Whether there certainly is a newer delivery: one that was asked for when this one was there.
    fn is_stale(&self, held: &Held) -> bool {
        let newest = lock(&self.ground.newest);
        newest
            .get(&held.name)
            .is_some_and(|(token, asked)| *token != held.token && *asked > held.had_us)
    }

    /// Presents a handle again. If it is stale for certain, whoever receives the message next must find it
    /// there: the history tells if not.
    fn present(&mut self, queue: &str, held: &Held) {
        if self.is_stale(held) {
            self.ground.stale.fetch_add(1, Ordering::Relaxed);
        }
        match self.rng.u8(0..3) {
            0 => drop(self.change(queue, held, VISIBILITY)),
            1 => drop(self.change(queue, held, 0)),
            _ => self.delete(queue, held),
        }
    }

    fn delete(&mut self, queue: &str, held: &Held) {
        let is_stale = self.is_stale(held);
        let start = now_us();
        let asked = json!({ "QueueUrl": url(queue), "ReceiptHandle": held.handle });
        let said = self.ask("DeleteMessage", &asked);
        let in_time = now_us() < held.asked_us + VISIBILITY * 1_000_000 - TICK_US;
        let (outcome, answer) = match said {
            _ if is_stale => (Outcome::Fail, None),
            Some(Said::Done(_)) if in_time => (Outcome::Ok, Some(Answer::Done)),
            Some(Said::Refused(_)) => (Outcome::Ok, Some(Answer::Lost)),
            _ => (Outcome::Unknown, None),
        };
        let (queue, id, token) = (queue.into(), held.name.clone(), held.token);
        let what = What::Settled { queue, id, token, verdict: Decided::Complete, answer };
        self.ground.write(&self.name, start, outcome, [what]);
    }

    /// Changes the time for which a message is held; zero gives it back. `None` without an answer.
    fn change(&mut self, queue: &str, held: &Held, seconds: u64) -> Option<bool> {
        let start = now_us();
        let asked = json!({
            "QueueUrl": url(queue), "ReceiptHandle": held.handle, "VisibilityTimeout": seconds,
        });
        let said = self.ask("ChangeMessageVisibility", &asked);
        let (outcome, answer) = match &said {
            Some(Said::Done(_)) => (Outcome::Ok, Some(Answer::Done)),
            Some(Said::Refused(_)) => (Outcome::Ok, Some(Answer::Lost)),
            None => (Outcome::Unknown, None),
        };
        let (queue, id, token) = (queue.to_owned(), held.name.clone(), held.token);
        let what = match seconds {
            0 => {
                let verdict = Decided::Retry { after_us: 0 };
                What::Settled { queue, id, token, verdict, answer }
            }
            _ => {
                let lease_us = seconds * 1_000_000 - TICK_US;
                What::Extended { queue, id, token, lease_us, answer }
            }
        };
        self.ground.write(&self.name, start, outcome, [what]);
        said.map(|said| matches!(said, Said::Done(_)))
    }

    /// Presents the stale handles of messages that are in hand, and sees that they are there still.
    pub(super) fn prove(mut self, queue: &str) {
        let mut older: HashMap<String, Held> = HashMap::new();
        while !self.ground.is_over.load(Ordering::Relaxed) {
            for held in self.receive(queue, 10, 1).unwrap_or_default() {
                let Some(old) = older.remove(&held.name) else {
                    // Its time runs out.
                    older.insert(held.name.clone(), held);
                    continue;
                };
                self.delete(queue, &old);
                self.ground.stale.fetch_add(1, Ordering::Relaxed);
                let is_there = self.change(queue, &held, VISIBILITY);
                let in_time = now_us() < held.asked_us + VISIBILITY * 1_000_000 - TICK_US;
                if is_there == Some(false) && in_time && !self.is_stale(&held) {
                    let why = "was gone from under its lease after a stale delete";
                    lock(&self.ground.wrong).push(format!("{} {why}", held.name));
                }
                self.delete(queue, &held);
            }
        }
    }

    /// Takes all that is left, and writes down what then is there.
    pub(super) fn drain(mut self, queue: &str) -> Result<(), String> {
        let asked = json!({ "QueueUrl": url(queue), "AttributeNames": [
            "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ] });
        let begun = now_us();
        loop {
            let helds = self.receive(queue, 10, 1).unwrap_or_default();
            helds.iter().for_each(|held| self.delete(queue, held));
            let told = self.insist("GetQueueAttributes", &asked)?;
            if counted(&told) == 0 {
                break;
            }
            if now_us() - begun > 120_000_000 {
                return Err(format!("{queue} still holds {told} after two minutes"));
            }
        }
        let start = now_us();
        let (mut dead, mut dead_count) = (Vec::new(), 0);
        if queue == "work" {
            let mut graves = asked.clone();
            graves.as_object_mut().into_iter().for_each(|asked| {
                asked.extend([("QueueUrl".to_owned(), json!(url(GRAVES)))]);
            });
            dead_count = counted(&self.insist("GetQueueAttributes", &graves)?);
            let asked = json!({ "QueueUrl": url(GRAVES), "MaxNumberOfMessages": 10 });
            while (dead.len() as u64) < dead_count {
                let done = self.insist("ReceiveMessage", &asked)?;
                let messages = done.get("Messages").and_then(Value::as_array);
                let Some(messages) = messages else { break };
                let body = |it: &Value| it.get("Body").and_then(Value::as_str).map(str::to_owned);
                dead.extend(messages.iter().filter_map(body));
            }
        }
        let queue = queue.to_owned();
        let last = What::Final { queue, live: Vec::new(), dead, live_count: 0, dead_count };
        self.ground.write(&self.name, start, Outcome::Ok, [last]);
        Ok(())
    }
}

/// The sum of what a queue counts.
fn counted(told: &Value) -> u64 {
    let counts = told.get("Attributes").and_then(Value::as_object).into_iter().flatten();
    counts.filter_map(|(_, count)| count.as_str()?.parse::<u64>().ok()).sum()
}
