//! What a seed chooses before anything happens.

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Capacity, Error, Ordering, QueueName, QueueSpec, RetryPolicy};
use tidegate_engine::Durability;
use tidegate_engine::simulation::{End, Faults};

/// A queue without keys, with a bound.
pub(crate) const PLAIN: &str = "plain";
/// A queue in the order of keys.
pub(crate) const ORDERED: &str = "ordered";
/// A queue whose dead move to [`GRAVES`].
pub(crate) const MOVING: &str = "moving";
/// Where the dead of [`MOVING`] go.
pub(crate) const GRAVES: &str = "graves";
/// A queue whose tasks are dropped when they are old.
pub(crate) const FADING: &str = "fading";
/// The queues that are judged to the end: nothing may vanish from them.
pub(crate) const JUDGED: [&str; 3] = [PLAIN, ORDERED, MOVING];

/// Attempts of a task. Every life of a process may end one.
const ATTEMPTS_MAX: u32 = 6;
/// The lease of all queues.
pub(crate) const LEASE: Duration = Duration::from_millis(150);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In the middle of a call of the disk after so many others, counted from the start.
    InOpen { after: u64, end: End },
    /// The same, counted from when the queues are there and the clients begin.
    InCall { after: u64, end: End },
    /// In the middle of the sync of a file after so many others: what others saw meanwhile, they saw.
    InSync { after: u64, end: End },
    /// Between two calls.
    Between(End),
    /// It is closed; or it ends in the middle of that.
    Closed(Option<(u64, End)>),
}

/// One process from its start to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) ending: Ending,
    /// Steps before it is ended, if it does not end before.
    pub(crate) steps: u32,
}

/// A run, as its seed has it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u32,
    /// Bytes that the disk writes wholly or not at all.
    pub(crate) block: usize,
    pub(crate) faults: Faults,
    /// Whether bits flip while no process runs.
    pub(crate) flips: bool,
    pub(crate) lives: Vec<Life>,
    pub(crate) producers: u64,
    /// Consumers of each queue.
    pub(crate) consumers: u64,
    /// Whether an administrator is about, and whether it purges too.
    pub(crate) admin: bool,
    pub(crate) purges: bool,
    /// Whether all leases are those of clients that outlive the process.
    pub(crate) clients_outlive: bool,
    pub(crate) payload_bytes_max: usize,
    pub(crate) capacity: u64,
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let durability = match rng.u8(0..10) {
            0 => Durability::Interval(Duration::from_millis(rng.u64(5..60))),
            1 => Durability::Never,
            _ => Durability::Always,
        };
        let lives = rng.usize(1..4);
        let faults = faults(rng);
        // WHY: on a disk that fails otherwise too, what was synced may not be known to be.
        let sound = durability == Durability::Always && faults == Faults::default();
        Self {
            durability,
            segment_bytes: *rng.choice(&[6 << 10, 8 << 10, 12 << 10, 16 << 10]).unwrap_or(&8_192),
            block: *rng.choice(&[512, 4_096]).unwrap_or(&512),
            faults,
            flips: sound && rng.u8(0..4) == 0,
            lives: (0..lives).map(|_| life(rng)).collect(),
            producers: rng.u64(1..5),
            consumers: rng.u64(1..3),
            admin: rng.u8(0..3) == 0,
            purges: rng.u8(0..4) == 0,
            clients_outlive: rng.u8(0..3) == 0,
            payload_bytes_max: *rng.choice(&[40, 400, 1_500]).unwrap_or(&400),
            capacity: rng.u64(8..80),
        }
    }

    /// Whether a sync may say `Ok` and do nothing: then a power cut may cost anything.
    pub(crate) fn lies(&self) -> bool {
        self.faults.syncs_lying > 0
    }

    /// The queues of a run.
    pub(crate) fn specs(&self) -> Result<[QueueSpec; 4], Error> {
        let base = |name: &str| -> Result<QueueSpec, Error> {
            let retry = RetryPolicy { max_attempts: ATTEMPTS_MAX, ..RetryPolicy::default() };
            Ok(QueueSpec { lease: LEASE, retry, ..QueueSpec::new(queue(name)?) })
        };
        let plain = QueueSpec { capacity: Capacity::Bounded(self.capacity), ..base(PLAIN)? };
        let ordered = QueueSpec { ordering: Ordering::Key, ..base(ORDERED)? };
        let mut moving = base(MOVING)?;
        moving.dead_letters.queue = Some(queue(GRAVES)?);
        let retention = Some(Duration::from_millis(400));
        let fading = QueueSpec { retention, ..base(FADING)? };
        Ok([plain, ordered, moving, fading])
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults::default();
    match rng.u8(0..20) {
        0..9 => {}
        9..13 => faults.syncs_failing = rng.u32(5..60),
        13..16 => faults.errors = rng.u32(2..40),
        16..18 => faults.full = rng.u32(5..200),
        18 => {
            faults = Faults { syncs_failing: 10, errors: 10, full: 20, ..faults };
        }
        _ => faults.syncs_lying = rng.u32(100..900),
    }
    faults
}

fn life(rng: &mut Rng) -> Life {
    let end = if rng.u8(0..3) == 0 { End::Kill } else { End::PowerCut };
    let ending = match rng.u8(0..20) {
        0..3 => Ending::InOpen { after: rng.u64(0..40), end },
        3..6 => Ending::InCall { after: rng.u64(0..15), end },
        6..10 => Ending::InCall { after: rng.u64(0..300), end },
        10..13 => Ending::InSync { after: rng.u64(0..60), end },
        13..17 => Ending::Between(end),
        17..19 => Ending::Closed(None),
        _ => Ending::Closed(Some((rng.u64(0..4), end))),
    };
    Life { ending, steps: rng.u32(20..400) }
}

/// The queue with a name of this file.
pub(crate) fn queue(name: &str) -> Result<QueueName, Error> {
    use tidegate_core::{ErrorKind, Operation};
    QueueName::new(name).map_err(|why| Error::new(ErrorKind::Invalid, Operation::Open, why))
}
