//! The commands of the model test, small so that they shrink well and read well.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use tidegate_core::queue::DeadLetterPolicy;
use tidegate_core::{
    Capacity, Held, Ordering, Partitions, QueueName, QueueSpec, RetryPolicy, Unique,
};

/// How many queues the sequences use. The last one is the dead-letter queue of others.
const QUEUES: u8 = 4;
const DEAD_LETTERS: u8 = QUEUES - 1;

/// How many specs there are to declare a queue with.
const VARIANTS: u8 = 7;

/// One command. Queues, keys and times are small numbers; times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields are the words of the contract")]
pub enum Command {
    /// Declares a queue with one of the specs.
    Declare { queue: u8, variant: u8 },
    /// Enqueues a batch.
    Enqueue { queue: u8, tasks: Vec<Sent> },
    /// Receives without waiting.
    Receive { queue: u8, limit: usize, per_key: usize, lease: Option<u64>, attempt: Option<u8> },
    /// Settles a batch.
    Settle { queue: u8, verdicts: Vec<(Pick, Decision)> },
    /// Extends a batch.
    Extend { queue: u8, leases: Vec<(Pick, u64)> },
    /// Settles one task and enqueues others in one step.
    Step { queue: u8, pick: Pick, decision: Decision, follow_ups: Vec<(u8, Sent)> },
    /// Closes the session on a queue; the next command opens another.
    CloseSession { queue: u8, release: bool },
    /// Lets time pass.
    Advance { ms: u64 },
    /// Pauses or resumes.
    Pause { queue: u8, paused: bool },
    /// Purges the live tasks.
    Purge { queue: u8 },
    /// Purges dead tasks.
    PurgeDead { queue: u8, limit: Option<usize>, reason: Option<u8> },
    /// Redrives dead tasks.
    Redrive { queue: u8, limit: Option<usize>, reason: Option<u8> },
    /// Updates the spec, of the revision last seen or of one before it.
    Update { queue: u8, change: Change, stale: bool },
    /// Deletes a queue.
    Delete { queue: u8 },
    /// Looks at the stats, the ready, all and the dead of a queue.
    Look { queue: u8 },
    /// Ends the subject and opens it again.
    Restart,
}

/// A task to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields are the words of the contract")]
pub struct Sent {
    pub key: Option<u8>,
    pub delay: u64,
    pub priority: u8,
    /// A dedup key and its window; no window is until done.
    pub dedup: Option<(u8, Option<u64>)>,
}

/// Which of the leases handed out so far is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The newest of the queue but this many.
    Newest(usize),
    /// Any of any queue, counted from the first.
    Any(usize),
    /// None: bytes that no broker issued.
    Garbage,
}

/// A verdict. Errors and reasons are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields are the words of the contract")]
pub enum Decision {
    /// `Verdict::Complete`.
    Complete,
    /// `Verdict::Retry`.
    Retry { after: u64, error: Option<u8> },
    /// `Verdict::Release`.
    Release { after: u64 },
    /// `Verdict::DeadLetter`.
    DeadLetter { reason: u8 },
}

/// What an update changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The lease.
    Lease(u64),
    /// The capacity.
    Capacity(u64),
    /// The attempts.
    MaxAttempts(u32),
    /// The retention, or none.
    Retention(Option<u64>),
    /// Where the dead go: the dead-letter queue, or nowhere.
    DeadLetterQueue(bool),
    /// The order, which cannot be changed.
    Ordering,
}

impl Command {
    /// What closing with `release` means.
    pub(super) fn held(release: bool) -> Held {
        if release { Held::Release } else { Held::Keep }
    }
}

impl Sent {
    /// How long its dedup key holds.
    pub(super) fn unique(window: Option<u64>) -> Unique {
        window.map_or(Unique::UntilDone, |ms| Unique::Window(Duration::from_millis(ms)))
    }
}

/// The name of a queue.
pub(super) fn queue_name(queue: u8) -> QueueName {
    let name = if queue == DEAD_LETTERS { "dead".to_owned() } else { format!("q{queue}") };
    match QueueName::new(&name) {
        Ok(name) => name,
        Err(why) => panic!("{why}"),
    }
}

/// One of the specs to declare a queue with.
pub(super) fn spec(queue: u8, variant: u8) -> QueueSpec {
    let plain = QueueSpec {
        lease: Duration::from_secs(1),
        capacity: Capacity::Unbounded,
        retry: RetryPolicy { max_attempts: 3, ..RetryPolicy::default() },
        ..QueueSpec::new(queue_name(queue))
    };
    let moving = dead_letters(queue != DEAD_LETTERS);
    let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    let partitions = Partitions::new(3).unwrap_or(Partitions::ONE);
    match variant {
        0 => plain,
        1 => QueueSpec { ordering: Ordering::Key, partitions, ..plain },
        2 => QueueSpec { capacity: Capacity::Bounded(3), ..plain },
        3 => QueueSpec { dead_letters: moving, retry: once, ..plain },
        4 => QueueSpec { ordering: Ordering::Key, dead_letters: moving, retry: once, ..plain },
        5 => QueueSpec {
            retention: Some(Duration::from_secs(5)),
            dead_letters: DeadLetterPolicy {
                retention: Duration::from_secs(2),
                ..DeadLetterPolicy::default()
            },
            ..plain
        },
        _ => QueueSpec {
            ordering: Ordering::Key,
            capacity: Capacity::Bounded(4),
            dead_letters: moving,
            ..plain
        },
    }
}

/// Dead letters that move to the dead-letter queue, or stay.
pub(super) fn dead_letters(moving: bool) -> DeadLetterPolicy {
    let queue = moving.then(|| queue_name(DEAD_LETTERS));
    DeadLetterPolicy { queue, ..DeadLetterPolicy::default() }
}

/// Sequences that begin with queues to work on.
pub(super) fn sequences() -> impl Strategy<Value = Vec<Command>> {
    let declared = (0..VARIANTS, 0..VARIANTS).prop_map(|(a, b)| {
        vec![Command::Declare { queue: 0, variant: a }, Command::Declare { queue: 1, variant: b }]
    });
    (declared, vec(command(), 1..50)).prop_map(|(mut first, rest)| {
        first.extend(rest);
        first
    })
}

fn command() -> impl Strategy<Value = Command> {
    let busy = prop_oneof![
        6 => (queue(), vec(sent(), 1..5))
            .prop_map(|(queue, tasks)| Command::Enqueue { queue, tasks }),
        6 => (
            queue(),
            1..6_usize,
            1..4_usize,
            option::weighted(0.2, lease_ms()),
            option::weighted(0.3, 0..3_u8),
        )
            .prop_map(|(queue, limit, per_key, lease, attempt)| {
                Command::Receive { queue, limit, per_key, lease, attempt }
            }),
        6 => (queue(), vec((pick(), decision()), 1..4))
            .prop_map(|(queue, verdicts)| Command::Settle { queue, verdicts }),
        2 => (queue(), vec((pick(), lease_ms()), 1..3))
            .prop_map(|(queue, leases)| Command::Extend { queue, leases }),
        2 => (queue(), pick(), decision(), vec((queue(), sent()), 0..3))
            .prop_map(|(queue, pick, decision, follow_ups)| {
                Command::Step { queue, pick, decision, follow_ups }
            }),
        4 => wait_ms().prop_map(|ms| Command::Advance { ms }),
        3 => queue().prop_map(|queue| Command::Look { queue }),
    ];
    let filter = || (queue(), option::of(1..4_usize), option::of(0..3_u8));
    let rare = prop_oneof![
        2 => (queue(), 0..VARIANTS)
            .prop_map(|(queue, variant)| Command::Declare { queue, variant }),
        2 => (queue(), any::<bool>())
            .prop_map(|(queue, release)| Command::CloseSession { queue, release }),
        2 => (queue(), any::<bool>()).prop_map(|(queue, paused)| Command::Pause { queue, paused }),
        1 => queue().prop_map(|queue| Command::Purge { queue }),
        1 => filter()
            .prop_map(|(queue, limit, reason)| Command::PurgeDead { queue, limit, reason }),
        3 => filter().prop_map(|(queue, limit, reason)| Command::Redrive { queue, limit, reason }),
        2 => (queue(), change(), any::<bool>())
            .prop_map(|(queue, change, stale)| Command::Update { queue, change, stale }),
        1 => queue().prop_map(|queue| Command::Delete { queue }),
        3 => Just(Command::Restart),
    ];
    prop_oneof![5 => busy, 1 => rare]
}

/// Mostly the first two, which are declared at the start.
fn queue() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), 3 => Just(1), 1 => Just(2), 2 => Just(DEAD_LETTERS)]
}

fn sent() -> impl Strategy<Value = Sent> {
    let delay = prop_oneof![6 => Just(0), 1 => wait_ms()];
    let priority = prop_oneof![5 => Just(0), 1 => 1..4_u8];
    let window = option::of(wait_ms());
    let dedup = option::weighted(0.25, (0..3_u8, window));
    (option::weighted(0.7, 0..3_u8), delay, priority, dedup)
        .prop_map(|(key, delay, priority, dedup)| Sent { key, delay, priority, dedup })
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        12 => (0..4_usize).prop_map(Pick::Newest),
        2 => (0..40_usize).prop_map(Pick::Any),
        1 => Just(Pick::Garbage),
    ]
}

fn decision() -> impl Strategy<Value = Decision> {
    let after = || prop_oneof![2 => Just(0), 1 => wait_ms()];
    prop_oneof![
        4 => Just(Decision::Complete),
        3 => (after(), option::of(0..3_u8))
            .prop_map(|(after, error)| Decision::Retry { after, error }),
        2 => after().prop_map(|after| Decision::Release { after }),
        2 => (0..3_u8).prop_map(|reason| Decision::DeadLetter { reason }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        lease_ms().prop_map(Change::Lease),
        (1..6_u64).prop_map(Change::Capacity),
        (1..4_u32).prop_map(Change::MaxAttempts),
        option::of(wait_ms()).prop_map(Change::Retention),
        any::<bool>().prop_map(Change::DeadLetterQueue),
        Just(Change::Ordering),
    ]
}

/// Times around the lease of one second, and around the five minutes of a settled fence.
fn wait_ms() -> impl Strategy<Value = u64> {
    select(vec![1, 10, 500, 999, 1_000, 1_001, 2_000, 5_000, 299_999, 300_000])
}

fn lease_ms() -> impl Strategy<Value = u64> {
    select(vec![1, 500, 1_000, 3_000])
}
