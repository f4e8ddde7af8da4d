//! When a failed task comes back: exponential growth, a cap, and jitter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the wait before a retry is spread, so that tasks that failed together do not return together.
///
/// Formulas as in "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Anywhere from zero up to the exponential wait.
    #[default]
    Full,
    /// Half of the exponential wait, and anywhere from zero up to the other half.
    Equal,
    /// Exactly the exponential wait.
    None,
    /// Anywhere from the initial delay up to three times the wait before.
    Decorrelated,
}

/// How often and how fast a failed task is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts before the task is dead, the first one included. Default: 5.
    pub max_attempts: u32,
    /// The exponential wait after the first attempt. Default: 1 s.
    pub initial_delay: Duration,
    /// Growth of the wait from one attempt to the next, at least 1. Default: 2.0.
    pub multiplier: f64,
    /// The longest wait, whatever the attempt. Default: 15 min.
    pub max_delay: Duration,
    /// How the wait is spread. Default: full.
    pub jitter: Jitter,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(15 * 60),
            jitter: Jitter::Full,
        }
    }
}

impl RetryPolicy {
    /// Says what is wrong with the policy, if anything.
    pub fn check(&self) -> Result<(), String> {
        if self.max_attempts == 0 {
            return Err("max_attempts is 0; at least 1 attempt is needed".into());
        }
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            return Err(format!("multiplier is {}; it must be 1.0 or more", self.multiplier));
        }
        if self.max_delay < self.initial_delay {
            return Err("max_delay is shorter than initial_delay".into());
        }
        Ok(())
    }

    /// The wait before retry `retry` (from 1), in whole milliseconds.
    ///
    /// `random` is drawn from `[0, 1)`, half-open; `previous` is the wait before, used by
    /// [`Jitter::Decorrelated`] alone. With full jitter this is
    /// `floor(random * min(max_delay, initial_delay * multiplier^(retry - 1)))`.
    pub fn delay(&self, retry: u32, random: f64, previous: Option<Duration>) -> Duration {
        let cap = self.ceiling_ms(retry);
        let ms = match self.jitter {
            Jitter::Full => random * cap,
            Jitter::Equal => cap / 2.0 + random * (cap / 2.0),
            Jitter::None => cap,
            Jitter::Decorrelated => self.decorrelated_ms(random, previous),
        };
        Duration::from_millis(ms.floor() as u64)
    }

    /// The longest wait that [`RetryPolicy::delay`] can give before retry `retry` (from 1) with
    /// full, equal or no jitter, in milliseconds.
    fn ceiling_ms(&self, retry: u32) -> f64 {
        let exponent = f64::from(retry.max(1) - 1);
        // WHY: no wait stays none, however often it has grown: zero times infinity would be no number.
        let grown = millis(self.initial_delay) * self.multiplier.powf(exponent).min(f64::MAX);
        grown.min(millis(self.max_delay))
    }

    fn decorrelated_ms(&self, random: f64, previous: Option<Duration>) -> f64 {
        let low = millis(self.initial_delay);
        let high = millis(previous.unwrap_or(self.initial_delay)) * 3.0;
        (low + random * (high - low).max(0.0)).min(millis(self.max_delay))
    }
}

fn millis(duration: Duration) -> f64 {
    // WHY: whole milliseconds stay whole; as seconds, 1,001 ms would be a little less.
    duration.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(jitter: Jitter) -> RetryPolicy {
        RetryPolicy { jitter, ..RetryPolicy::default() }
    }

    fn waits(jitter: Jitter, random: f64) -> Vec<u64> {
        let policy = policy(jitter);
        (1..=12).map(|n| policy.delay(n, random, None).as_millis() as u64).collect()
    }

    /// Golden values of `floor(random * min(900_000, 1_000 * 2^(n-1)))`, worked out by hand.
    #[test]
    fn full_jitter_matches_the_formula() {
        let half =
            [500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 450000, 450000];
        assert_eq!(waits(Jitter::Full, 0.5), half);
        assert_eq!(waits(Jitter::Full, 0.0), [0; 12]);
        assert_eq!(policy(Jitter::Full).delay(1, 0.999_999, None), Duration::from_millis(999));
        assert_eq!(policy(Jitter::Full).delay(3, 0.333_333, None), Duration::from_millis(1333));
    }

    #[test]
    fn no_jitter_grows_to_the_cap() {
        let grown =
            [1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000, 900000, 900000];
        assert_eq!(waits(Jitter::None, 0.7), grown);
    }

    #[test]
    fn equal_jitter_keeps_half() {
        assert_eq!(policy(Jitter::Equal).delay(4, 0.0, None), Duration::from_millis(4000));
        assert_eq!(policy(Jitter::Equal).delay(4, 0.5, None), Duration::from_millis(6000));
    }

    #[test]
    fn decorrelated_jitter_grows_from_the_wait_before() {
        let policy = policy(Jitter::Decorrelated);
        assert_eq!(policy.delay(1, 0.0, None), Duration::from_secs(1));
        assert_eq!(policy.delay(1, 0.5, None), Duration::from_secs(2));
        let previous = Some(Duration::from_secs(10));
        assert_eq!(policy.delay(2, 0.5, previous), Duration::from_millis(15_500));
        let long = Some(Duration::from_secs(3600));
        assert_eq!(policy.delay(9, 0.9, long), Duration::from_secs(900));
    }

    #[test]
    fn a_far_retry_does_not_overflow() {
        assert_eq!(policy(Jitter::None).delay(u32::MAX, 0.5, None), Duration::from_secs(900));
        assert_eq!(policy(Jitter::None).delay(0, 0.5, None), Duration::from_secs(1));
    }

    #[test]
    fn whole_milliseconds_stay_whole_and_no_wait_stays_none() {
        for ms in 1..=10_000 {
            let initial_delay = Duration::from_millis(ms);
            let policy = RetryPolicy { initial_delay, ..policy(Jitter::None) };
            assert_eq!(policy.delay(1, 0.5, None), initial_delay);
        }
        let none = RetryPolicy { initial_delay: Duration::ZERO, ..policy(Jitter::None) };
        assert_eq!(none.delay(5_000, 0.5, None), Duration::ZERO);
    }

    #[test]
    fn a_policy_that_cannot_work_says_why() {
        let broken = RetryPolicy { max_attempts: 0, ..RetryPolicy::default() };
        assert!(broken.check().unwrap_err().contains("max_attempts"));
        let broken = RetryPolicy { multiplier: 0.5, ..RetryPolicy::default() };
        assert!(broken.check().unwrap_err().contains("multiplier"));
        let broken = RetryPolicy { max_delay: Duration::ZERO, ..RetryPolicy::default() };
        assert!(broken.check().unwrap_err().contains("max_delay"));
    }
}
