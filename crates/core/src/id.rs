//! Task ids: UUID version 7, so that ids sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};

/// The id of a task, unique without coordination. Travels as the CloudEvents attribute `id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new id: milliseconds of now, then 74 random bits.
    pub fn new() -> Self {
        thread_local!(static CLOCK: SystemClock = SystemClock::new());
        let now = CLOCK.with(|clock| clock.now().as_millis());
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        Self(uuid::Builder::from_unix_timestamp_millis(now, &random).into_uuid())
    }

    /// The id with these 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl Default for TaskId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TaskId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self).map_err(|_| {
            format!(
                "{text:?} is not a task id; an id looks like 018f3a5e-7c1b-7d2e-9f00-1234567890ab"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_new_each_time_and_survive_text() {
        let (a, b) = (TaskId::new(), TaskId::new());
        assert_ne!(a, b);
        assert_eq!(a.to_string().parse(), Ok(a));
        assert!("42".parse::<TaskId>().is_err());
    }
}
