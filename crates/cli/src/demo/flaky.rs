//! A simulated dependency that fails on purpose, so that there is something to try again.

use std::time::Duration;

/// A service that some attempts fail at: always the same ones, for one seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flaky {
    seed: u64,
}

/// How many of a hundred calls fail.
const PERCENT: u64 = 8;
/// From this attempt on no call fails: nothing dies of a simulation.
const PATIENCE: u32 = 4;
/// How long a call takes.
pub(super) const CALL: Duration = Duration::from_millis(20);

/// What a failed call says.
pub(super) const ERROR: &str = "simulated: the delay service did not answer";

impl Flaky {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Takes its time and answers, or does not.
    pub(super) async fn call(self, line: u32, attempt: u32) -> Result<(), &'static str> {
        tokio::time::sleep(CALL).await;
        if self.fails(line, attempt) { Err(ERROR) } else { Ok(()) }
    }

    fn fails(self, line: u32, attempt: u32) -> bool {
        let mixed = mix(self.seed ^ mix(u64::from(line) << 32 | u64::from(attempt)));
        attempt < PATIENCE && mixed % 100 < PERCENT
    }
}

/// The finalizer of SplitMix64: every bit of the input moves about half of the output's.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_attempts_fail_every_time_and_about_as_many_as_it_says() {
        let failing = |seed| {
            let flaky = Flaky::new(seed);
            (1..=10_000).filter(|line| flaky.fails(*line, 1)).collect::<Vec<u32>>()
        };
        assert_eq!(failing(1), failing(1));
        assert_ne!(failing(1), failing(2));
        assert!((600..1_000).contains(&failing(1).len()), "{}", failing(1).len());
        assert!(!(1..=10_000).any(|line| Flaky::new(1).fails(line, PATIENCE)));
    }
}
