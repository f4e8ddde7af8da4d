//! Bytes as sequences of commands.

use tidegate_conformance::model::{Change, Command, Decision, Pick, Sent};

use crate::draw::Draw;

/// Most commands of a sequence.
const COMMANDS_MAX: usize = 80;
/// Times around the lease of one second, and around the five minutes of a settled fence.
const TIMES_MS: [u64; 10] = [1, 10, 500, 999, 1_000, 1_001, 2_000, 5_000, 299_999, 300_000];

/// The sequence that bytes stand for. It begins with two queues to work on.
pub fn sequence(bytes: &[u8]) -> Vec<Command> {
    let mut draw = Draw(bytes);
    let mut commands: Vec<Command> =
        (0..2).map(|queue| Command::Declare { queue, variant: draw.below(7) }).collect();
    while !draw.is_empty() && commands.len() < COMMANDS_MAX {
        commands.push(draw.command());
    }
    commands
}

impl Draw<'_> {
    fn time(&mut self) -> u64 {
        TIMES_MS[usize::from(self.below(TIMES_MS.len() as u8))]
    }

    fn count(&mut self, most: u8) -> usize {
        usize::from(self.below(most)) + 1
    }

    fn queue(&mut self) -> u8 {
        self.below(4)
    }

    fn command(&mut self) -> Command {
        let kind = self.below(24);
        let queue = self.queue();
        match kind {
            0..4 => Command::Enqueue { queue, tasks: self.some(4, Self::sent) },
            4..8 => Command::Receive {
                queue,
                limit: self.count(5),
                per_key: self.count(3),
                lease: self.maybe(Self::time),
                attempt: self.maybe(|draw| draw.below(3)),
            },
            8..12 => Command::Settle {
                queue,
                verdicts: self.some(3, |draw| (draw.pick(), draw.decision())),
            },
            12 => {
                Command::Extend { queue, leases: self.some(2, |draw| (draw.pick(), draw.time())) }
            }
            13 => Command::Step {
                queue,
                pick: self.pick(),
                decision: self.decision(),
                follow_ups: self.some(2, |draw| (draw.queue(), draw.sent())),
            },
            14 => Command::Advance { ms: self.time() },
            15 => Command::Look { queue },
            16 => Command::Declare { queue, variant: self.below(7) },
            17 => Command::CloseSession { queue, release: self.flag() },
            18 => Command::Pause { queue, paused: self.flag() },
            19 => Command::Purge { queue },
            20 => {
                let limit = self.maybe(|draw| draw.count(3));
                let reason = self.maybe(|draw| draw.below(3));
                if self.flag() {
                    Command::PurgeDead { queue, limit, reason }
                } else {
                    Command::Redrive { queue, limit, reason }
                }
            }
            21 => Command::Update { queue, change: self.change(), stale: self.flag() },
            22 => Command::Delete { queue },
            _ => Command::Restart,
        }
    }

    fn sent(&mut self) -> Sent {
        Sent {
            key: self.maybe(|draw| draw.below(3)),
            delay: self.maybe(Self::time).unwrap_or(0),
            priority: self.below(4),
            dedup: self.maybe(|draw| (draw.below(3), draw.maybe(Self::time))),
        }
    }

    fn pick(&mut self) -> Pick {
        match self.below(8) {
            0..6 => Pick::Newest(usize::from(self.below(4))),
            6 => Pick::Any(usize::from(self.below(40))),
            _ => Pick::Garbage,
        }
    }

    fn decision(&mut self) -> Decision {
        match self.below(4) {
            0 => Decision::Complete,
            1 => Decision::Retry {
                after: self.maybe(Self::time).unwrap_or(0),
                error: self.maybe(|draw| draw.below(3)),
            },
            2 => Decision::Release { after: self.maybe(Self::time).unwrap_or(0) },
            _ => Decision::DeadLetter { reason: self.below(3) },
        }
    }

    fn change(&mut self) -> Change {
        match self.below(6) {
            0 => Change::Lease(self.time()),
            1 => Change::Capacity(u64::from(self.below(5)) + 1),
            2 => Change::MaxAttempts(u32::from(self.below(3)) + 1),
            3 => Change::Retention(self.maybe(Self::time)),
            4 => Change::DeadLetterQueue(self.flag()),
            _ => Change::Ordering,
        }
    }
}
