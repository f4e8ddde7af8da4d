//! Requests of the protocol, sound ones and such as have been damaged.

use prost::Message;
use tidegate_remote::proto;
use tidegate_remote::proto::work_request::Step;

use crate::draw::Draw;

/// Queues that are there, one that may be made, one that may not, and a name that is none.
pub const QUEUES: [&str; 5] = ["a", "b", "c", "d", ".no queue"];
/// Times around the lease of one second.
const TIMES_US: [u64; 7] = [0, 1, 1_000, 999_999, 1_000_000, 60_000_001, u64::MAX];
const COUNTS: [u32; 6] = [1, 2, 3, 0, 1_001, u32::MAX];

/// The plain calls.
pub const CALLS: [&str; 18] = [
    "Hello",
    "Declare",
    "SettleAndEnqueue",
    "ListQueues",
    "GetSpec",
    "GetStats",
    "Peek",
    "ListTasks",
    "GetTask",
    "ListDead",
    "ListMembers",
    "UpdateQueue",
    "DeleteQueue",
    "PurgeQueue",
    "PurgeDead",
    "PauseQueue",
    "Redrive",
    "NoSuchCall",
];

/// The request of a plain call. Many have a queue's name as their first field, and make sense with it
/// alone.
pub fn plain(call: &str, draw: &mut Draw<'_>, tokens: &[Vec<u8>]) -> Vec<u8> {
    let queue = draw.of(&QUEUES).to_owned();
    match call {
        "Declare" | "UpdateQueue" => {
            let spec = spec(queue, draw);
            let revision = u64::from(draw.below(3));
            proto::DeclareRequest { spec: Some(proto::QueueSpec { revision, ..spec }) }
                .encode_to_vec()
        }
        "SettleAndEnqueue" => proto::SettleAndEnqueueRequest {
            queue,
            token: token(draw, tokens).into(),
            verdict: verdict(draw),
            follow_ups: draw.some(2, |draw| proto::FollowUp {
                queue: draw.of(&QUEUES).into(),
                task: draw.maybe(task),
            }),
        }
        .encode_to_vec(),
        "ListTasks" => {
            let state = i32::from(draw.below(7));
            let (after, limit) = (draw.maybe(|draw| u64::from(draw.below(9))), draw.of(&COUNTS));
            proto::ListTasksRequest { queue, state, after, limit }.encode_to_vec()
        }
        "Peek" => proto::PeekRequest { queue, limit: draw.of(&COUNTS) }.encode_to_vec(),
        _ => proto::GetStatsRequest { queue }.encode_to_vec(),
    }
}

fn spec(name: String, draw: &mut Draw<'_>) -> proto::QueueSpec {
    proto::QueueSpec {
        name,
        partitions: draw.maybe(|draw| draw.of(&COUNTS)).unwrap_or_default(),
        lease_us: draw.maybe(|draw| draw.of(&TIMES_US)),
        dead_letters: draw.maybe(|draw| proto::DeadLetterPolicy {
            queue: draw.maybe(|draw| draw.of(&QUEUES).into()),
            ..Default::default()
        }),
        retry: draw.maybe(|draw| proto::RetryPolicy {
            multiplier: Some(draw.of(&[2.0, 0.0, -1.0, f64::NAN, f64::INFINITY])),
            max_delay_us: draw.maybe(|draw| draw.of(&TIMES_US)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn send(id: u64, draw: &mut Draw<'_>) -> proto::EnqueueRequest {
    proto::EnqueueRequest { id, queue: draw.of(&QUEUES).into(), tasks: draw.some(3, task) }
}

fn task(draw: &mut Draw<'_>) -> proto::NewTask {
    let mut task = proto::NewTask { kind: "mail".into(), ..Default::default() };
    match draw.below(12) {
        0 => task.id = draw.bytes(18).to_vec().into(),
        1 => task.kind = String::new(),
        2 => task.payload = vec![7; draw.of(&[1_usize, 600, 5_000])].into(),
        3 => task.delay_us = draw.of(&TIMES_US),
        4 => task.priority = draw.of(&[1, 255, 256, u32::MAX]),
        5 => task.ordering_key = Some("k".repeat(draw.of(&[0, 1, 300]))),
        6 => task.headers = [("h".repeat(draw.of(&[0, 1, 300])), String::new())].into(),
        7 => {
            let unique = draw.maybe(|draw| match draw.flag() {
                true => proto::dedup::Unique::UntilDone(true),
                false => proto::dedup::Unique::WindowUs(draw.of(&TIMES_US)),
            });
            task.dedup = Some(proto::Dedup { key: draw.of(&["", "once"]).into(), unique });
        }
        _ => {}
    }
    task
}

pub fn step(id: u64, draw: &mut Draw<'_>, tokens: &[Vec<u8>]) -> proto::WorkRequest {
    let session = u32::from(draw.below(4));
    let step = match draw.below(16) {
        0..4 => Step::Open(proto::Open {
            queue: draw.of(&QUEUES).into(),
            member: (draw.below(8) == 0).then(|| "member".into()),
        }),
        4..8 => Step::Credit(proto::Credit {
            limit: draw.of(&COUNTS),
            wait_us: draw.maybe(|draw| draw.of(&TIMES_US)),
            lease_us: (draw.below(4) == 0).then(|| draw.of(&TIMES_US)),
            per_key: u32::from(draw.below(2)),
            attempt_id: draw.maybe(|draw| draw.of(&["a", "b"])).unwrap_or_default().into(),
        }),
        8 => Step::Cancel(proto::Cancel { credit: id - u64::from(draw.below(6)).min(id) }),
        9..13 => Step::Settle(proto::Settle {
            decisions: draw.some(3, |draw| proto::Decision {
                token: token(draw, tokens).into(),
                verdict: verdict(draw),
            }),
        }),
        13 => Step::Extend(proto::Extend {
            extensions: draw.some(3, |draw| proto::Extension {
                token: token(draw, tokens).into(),
                duration_us: draw.of(&TIMES_US),
            }),
        }),
        14 => Step::Close(proto::Close { keep: draw.flag() }),
        _ => return proto::WorkRequest { id, session, step: None },
    };
    proto::WorkRequest { id, session, step: Some(step) }
}

/// One that was handed out, most often a new one, or nonsense.
fn token(draw: &mut Draw<'_>, tokens: &[Vec<u8>]) -> Vec<u8> {
    let back = usize::from(draw.below(12));
    match tokens.iter().rev().nth(back) {
        Some(token) => token.clone(),
        None => draw.bytes(40).to_vec(),
    }
}

fn verdict(draw: &mut Draw<'_>) -> Option<proto::Verdict> {
    use proto::verdict::Kind;
    let kind = match draw.below(9) {
        0..4 => Kind::Complete(proto::Complete {}),
        4 | 5 => Kind::Retry(proto::Retry {
            after_us: draw.of(&TIMES_US),
            error: draw.maybe(|_| "why".into()),
        }),
        6 => Kind::Release(proto::Release { after_us: draw.of(&TIMES_US) }),
        7 => Kind::DeadLetter(proto::DeadLetterVerdict { reason: "wrong".into() }),
        _ => return None,
    };
    Some(proto::Verdict { kind: Some(kind) })
}

/// A message as it goes out, perhaps with damage: in the message, in what stands before it, or both.
pub fn framed(mut message: Vec<u8>, draw: &mut Draw<'_>) -> Vec<u8> {
    let kind = draw.below(24);
    let place = usize::from(draw.below(255));
    match kind {
        0 if !message.is_empty() => {
            let at = place % message.len();
            message[at] ^= 1 << draw.below(8);
        }
        1 => message.truncate(place),
        2 => {
            let at = place.min(message.len());
            message.splice(at..at, draw.bytes(20).iter().copied());
        }
        3 => message = draw.bytes(200).to_vec(),
        _ => {}
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    match kind {
        4 => framed[0] = draw.below(255),
        5 => framed[1 + place % 4] ^= 1 << draw.below(8),
        6 => framed.truncate(place),
        _ => {}
    }
    framed
}
