//! What a handler decides about its task.

use std::fmt::{self, Display};
use std::time::Duration;

use tidegate_core::{FollowUp, RetryPolicy, Verdict};

/// What a handler decides about its task, with what follows from it.
///
/// `()` and `Ok(())` are done; an `Err` of anything that can be shown is a retry by the queue's
/// policy. Use [`Failure`] as the error where some errors are permanent.
///
/// ```
/// # use tidegate::Outcome;
/// # use std::time::Duration;
/// fn charge(balance: i64) -> Outcome {
///     match balance {
///         0.. => Outcome::done(),
///         -100..0 => Outcome::retry_after(Duration::from_secs(60), "not yet paid in"),
///         _ => Outcome::dead_letter("the account is closed"),
///     }
/// }
/// # charge(1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    decision: Decision,
    follow_ups: Vec<FollowUp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Done,
    Retry { after: Option<Duration>, error: Option<String> },
    Release { after: Duration },
    DeadLetter { reason: String },
}

impl Outcome {
    /// The work is done.
    pub fn done() -> Self {
        Self::of(Decision::Done)
    }

    /// The attempt failed; the queue's retry policy says when to try again. The error is kept with
    /// the task, up to 1,024 bytes.
    pub fn retry(error: impl Display) -> Self {
        Self::of(Decision::Retry { after: None, error: Some(error.to_string()) })
    }

    /// The attempt failed; try again after this long. A delay that the broker cannot keep is
    /// refused, and then the task comes back when its lease ends.
    pub fn retry_after(after: Duration, error: impl Display) -> Self {
        Self::of(Decision::Retry { after: Some(after), error: Some(error.to_string()) })
    }

    /// Nothing was tried; the task comes back after this long, and the attempt does not count
    /// where the broker can tell.
    pub fn release(after: Duration) -> Self {
        Self::of(Decision::Release { after })
    }

    /// Trying again is of no use. The reason is kept with the task, up to 1,024 bytes.
    pub fn dead_letter(reason: impl Into<String>) -> Self {
        Self::of(Decision::DeadLetter { reason: reason.into() })
    }

    /// Enqueues these in the same step in which the task is settled: both or neither. If the lease
    /// was lost meanwhile, nothing is enqueued. Make them with [`crate::Context::follow_up`].
    ///
    /// On a broker that cannot, the attempt fails and the task becomes a dead letter that says so:
    /// call [`crate::Worker::with_follow_ups`] to be refused at the start instead.
    pub fn then(mut self, follow_ups: impl IntoIterator<Item = FollowUp>) -> Self {
        self.follow_ups.extend(follow_ups);
        self
    }

    fn of(decision: Decision) -> Self {
        Self { decision, follow_ups: Vec::new() }
    }

    /// What is enqueued with it.
    pub fn follow_ups(&self) -> &[FollowUp] {
        &self.follow_ups
    }

    /// Whether it completes its task.
    pub fn is_done(&self) -> bool {
        self.decision == Decision::Done
    }

    /// The verdict for attempt `attempt` (from 1) under a retry policy; `random` is drawn from
    /// `[0, 1)`, and a policy's wait is cut to `longest`, the broker's longest.
    pub(crate) fn verdict(
        &self,
        attempt: u32,
        policy: &RetryPolicy,
        random: f64,
        longest: Duration,
    ) -> Verdict {
        match &self.decision {
            Decision::Done => Verdict::Complete,
            Decision::Retry { after, error } => {
                let by_policy = || policy.delay(attempt.max(1), random, None).min(longest);
                Verdict::Retry { after: after.unwrap_or_else(by_policy), error: error.clone() }
            }
            Decision::Release { after } => Verdict::Release { after: *after },
            Decision::DeadLetter { reason } => Verdict::DeadLetter { reason: reason.clone() },
        }
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::done()
    }
}

impl<E: Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        result.map_or_else(Self::retry, Self::from)
    }
}

impl<E: Display> From<Result<Outcome, E>> for Outcome {
    fn from(result: Result<Outcome, E>) -> Self {
        result.unwrap_or_else(Self::retry)
    }
}

impl From<Result<(), Failure>> for Outcome {
    fn from(result: Result<(), Failure>) -> Self {
        result.map_or_else(Self::from, Self::from)
    }
}

impl From<Result<Outcome, Failure>> for Outcome {
    fn from(result: Result<Outcome, Failure>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

/// The error of a handler in which some errors are permanent. `?` turns any other error into one
/// that is tried again; [`Failure::permanent`] is a dead letter at once.
///
/// ```
/// # use tidegate::Failure;
/// fn parse(amount: &str) -> Result<i64, Failure> {
///     amount.parse::<i64>().map_err(Failure::permanent)
/// }
/// assert!(parse("ten").is_err_and(|failure| failure.is_permanent()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Fate);

#[derive(Clone, PartialEq, Eq)]
enum Fate {
    Passing(String),
    Permanent(String),
}

impl Failure {
    /// Trying again may help.
    pub fn passing(error: impl Display) -> Self {
        Self(Fate::Passing(error.to_string()))
    }

    /// Trying again is of no use.
    pub fn permanent(error: impl Display) -> Self {
        Self(Fate::Permanent(error.to_string()))
    }

    /// Whether trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        matches!(self.0, Fate::Permanent(_))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fate::Passing(error) => write!(f, "{error}"),
            Fate::Permanent(error) => write!(f, "{error} (permanent)"),
        }
    }
}

// WHY: `Failure` is no `Display` and no `std::error::Error`, so that `?` converts every error into
// it and a `Result` with it is not taken for one with an error that is merely shown.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::passing(error)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure.0 {
            Fate::Passing(error) => Self::retry(error),
            Fate::Permanent(error) => Self::dead_letter(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::Jitter;

    const LONGEST: Duration = Duration::from_secs(600);

    fn verdict(outcome: impl Into<Outcome>, attempt: u32) -> Verdict {
        let policy = RetryPolicy { jitter: Jitter::Full, ..RetryPolicy::default() };
        outcome.into().verdict(attempt, &policy, 0.5, LONGEST)
    }

    fn retry(ms: u64, error: &str) -> Verdict {
        Verdict::Retry { after: Duration::from_millis(ms), error: Some(error.into()) }
    }

    #[test]
    fn an_error_is_a_retry_by_the_policy() {
        assert_eq!(verdict((), 1), Verdict::Complete);
        assert_eq!(verdict(Ok::<(), String>(()), 1), Verdict::Complete);
        assert_eq!(verdict(Err::<(), _>("down"), 1), retry(500, "down"));
        assert_eq!(verdict(Err::<Outcome, _>("down"), 4), retry(4_000, "down"));
        assert_eq!(verdict(Outcome::retry("down"), 99), retry(450_000, "down"));
    }

    #[test]
    fn a_policys_wait_is_cut_to_the_brokers_longest_but_an_asked_one_is_not() {
        let policy = RetryPolicy { jitter: Jitter::None, ..RetryPolicy::default() };
        let cut = Outcome::retry("e").verdict(20, &policy, 0.0, LONGEST);
        assert_eq!(cut, retry(600_000, "e"));
        let asked = Outcome::retry_after(LONGEST * 2, "e").verdict(1, &policy, 0.0, LONGEST);
        assert_eq!(asked, retry(1_200_000, "e"));
    }

    #[test]
    fn a_permanent_failure_is_a_dead_letter_and_any_other_a_retry() {
        fn fails(text: &str) -> Result<(), Failure> {
            let number: i32 = text.parse()?;
            Err(Failure::permanent(format!("{number} is taken")))
        }
        assert_eq!(verdict(fails("7"), 1), Verdict::DeadLetter { reason: "7 is taken".into() });
        assert_eq!(verdict(fails("x"), 1), retry(500, "invalid digit found in string"));
    }
}
