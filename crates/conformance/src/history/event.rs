//! What clients saw, one operation an event, and how it is kept in a file.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

/// One operation of one client. A history is any number of them in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The process or client, and for operations beside each other the thread of it.
    pub client: String,
    /// When it was begun, in microseconds of a clock that all clients of the history share.
    pub start_us: u64,
    /// When its answer was there, or when waiting for one was given up.
    pub end_us: u64,
    /// How much is known about what it did.
    pub outcome: Outcome,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// How much is known about what an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was carried out, as answered.
    Ok,
    /// It was refused; nothing was changed.
    Fail,
    /// There was no answer: it may have been carried out, then or later.
    Unknown,
}

/// An operation with its arguments and its answer. Tasks go by their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// One task was sent.
    Enqueued {
        /// The queue.
        queue: String,
        /// The id it was sent with.
        id: String,
        /// Its ordering key, on an ordered queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Who sent it. Sends of one producer are one after another.
        producer: String,
        /// Its number among the producer's sends, growing.
        seq: u64,
        /// How long it was to wait.
        #[serde(default)]
        delay_us: u64,
        /// Its dedup key and what was answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dedup: Option<DedupSent>,
    },
    /// One task was handed out. One event for each task of a receive, with the same times.
    Received {
        /// The queue.
        queue: String,
        /// The task.
        id: String,
        /// A hash of the lease token, unique to the delivery: [`token_hash`].
        token: u64,
        /// How long the lease is from when it was handed out.
        lease_us: u64,
        /// The attempt, as told.
        attempt: u32,
        /// The deliveries, as told.
        deliveries: u32,
    },
    /// One verdict was given.
    Settled {
        /// The queue.
        queue: String,
        /// The task.
        id: String,
        /// The hash of the token.
        token: u64,
        /// What was decided.
        verdict: Decided,
        /// What was answered; nothing if the outcome is not `Ok`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
    },
    /// One lease was extended.
    Extended {
        /// The queue.
        queue: String,
        /// The task.
        id: String,
        /// The hash of the token.
        token: u64,
        /// The new length, from when it was carried out.
        lease_us: u64,
        /// What was answered; nothing if the outcome is not `Ok`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Answer>,
    },
    /// All leases that this client holds on the queue were given back, by closing its session or
    /// because its process ended.
    GaveBack {
        /// The queue.
        queue: String,
    },
    /// The broker ended, however, between these times, and opened again. Leases of its own process
    /// end with it.
    Restarted {
        /// Whether leases from before are over: those of the broker's own process.
        leases_over: bool,
    },
    /// A queue was purged: any of its tasks may be gone.
    Purged {
        /// The queue.
        queue: String,
    },
    /// Dead tasks of the queue were put back.
    Redriven {
        /// The queue.
        queue: String,
    },
    /// What the queue held at the end, when nobody did anything any more.
    Final {
        /// The queue.
        queue: String,
        /// The ids of its ready, scheduled and leased tasks.
        live: Vec<String>,
        /// The ids of its dead tasks, wherever they lie.
        dead: Vec<String>,
        /// Ready, scheduled and leased tasks as the broker counts them.
        live_count: u64,
        /// Dead tasks as the broker counts them.
        dead_count: u64,
    },
}

/// A dedup key as it was sent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupSent {
    /// The key.
    pub key: String,
    /// How long it holds; nothing is until the task is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_us: Option<u64>,
    /// The earlier task that stands for this one, if it was answered to be a duplicate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
}

/// A verdict, less its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Decided {
    /// The work is done.
    Complete,
    /// The attempt failed.
    Retry {
        /// How long the task waits.
        after_us: u64,
    },
    /// The task was given back.
    Release {
        /// How long the task waits.
        after_us: u64,
    },
    /// The task was sent to the dead letters.
    DeadLetter,
}

/// An answer to a settle or an extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Carried out.
    Done,
    /// Carried out, and the task is dead of it.
    DoneDead,
    /// Settled before.
    AlreadyDone,
    /// The lease no longer counted.
    Lost,
}

/// The hash under which a history keeps a lease token.
pub fn token_hash(token: &tidegate_core::LeaseToken) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    token.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Writes one event as one line of JSON.
pub fn write(to: &mut impl Write, event: &Event) -> std::io::Result<()> {
    serde_json::to_writer(&mut *to, event)?;
    to.write_all(b"\n")
}

/// Reads a history of one event a line. A last line that was cut off, as by a kill, is passed
/// over; any other line that cannot be read is an error that names it.
pub fn read(from: impl BufRead) -> std::io::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut lines = from.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        match serde_json::from_str(&line?) {
            Ok(event) => events.push(event),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => {
                let why = format!("line {} is not an event: {error}", number + 1);
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
            }
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { client: "c1".into(), start_us: 1, end_us: 2, outcome: Outcome::Ok, what }
    }

    #[test]
    fn a_history_is_read_back_and_a_line_cut_by_a_kill_is_passed_over() {
        let retry = Decided::Retry { after_us: 5 };
        let events = [
            event(What::Settled {
                queue: "q".into(),
                id: "a".into(),
                token: 7,
                verdict: retry,
                answer: Some(Answer::Done),
            }),
            event(What::Restarted { leases_over: true }),
        ];
        let mut file = Vec::new();
        events.iter().for_each(|event| write(&mut file, event).unwrap());
        assert_eq!(read(&file[..]).unwrap(), events);
        assert_eq!(read(&file[..file.len() - 3]).unwrap(), events[..1]);
        file.splice(0..1, *b"?");
        assert!(read(&file[..]).unwrap_err().to_string().contains("line 1"));
    }
}
