//! What is known of the moves out of a queue.

use serde::{Deserialize, Serialize};

use crate::sqs::errors::{Code, Failure};

/// How many are remembered: as many as are listed.
const REMEMBERED: usize = 10;

/// The moves out of a queue, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Moves(pub(super) Vec<Move>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    pub(super) id: String,
    /// The ARN; `None` moves each message to where it came from.
    pub(super) destination: Option<String>,
    /// Most messages a second.
    pub(super) rate: Option<u32>,
    pub(super) status: Status,
    pub(super) moved: u64,
    pub(super) to_move: u64,
    /// When it began, in milliseconds.
    pub(super) started: u64,
    /// When its mover was last heard of, in milliseconds.
    pub(super) beat: u64,
    pub(super) failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Running,
    Completed,
    Cancelling,
    Cancelled,
    Failed,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }
}

impl Moves {
    /// The one that is under way.
    pub(super) fn active(&mut self) -> Option<&mut Move> {
        self.0.iter_mut().find(|it| it.status.is_active())
    }

    pub(super) fn begin(&mut self, new: Move) -> Result<(), Failure> {
        if self.active().is_some() {
            let why = "There is already a task running. Only one active task is allowed for a source \
                       queue arn at a given time.";
            return Err(Code::UnsupportedOperation.because(why));
        }
        self.0.push(new);
        let beyond = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..beyond);
        Ok(())
    }

    /// Tells how many were moved so far.
    pub(super) fn cancel(&mut self, id: &str) -> Result<u64, Failure> {
        let it = self.0.iter_mut().find(|it| it.id == id);
        let it = it.ok_or_else(|| Code::ResourceNotFound.because("Task does not exist."))?;
        if it.status != Status::Running {
            let status = it.status.name();
            let why =
                format!("Only a task that is RUNNING can be cancelled; this one is {status}.");
            return Err(Code::UnsupportedOperation.because(why));
        }
        it.status = Status::Cancelling;
        Ok(it.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(id: usize) -> Move {
        Move {
            id: id.to_string(),
            destination: None,
            rate: None,
            status: Status::Running,
            moved: 7,
            to_move: 9,
            started: 1,
            beat: 1,
            failure: None,
        }
    }

    #[test]
    fn one_is_under_way_at_a_time_and_ten_are_remembered() {
        let mut moves = Moves::default();
        for id in 0..12 {
            moves.begin(new(id)).unwrap();
            assert_eq!(moves.begin(new(99)).unwrap_err().code, Code::UnsupportedOperation);
            moves.active().unwrap().status = Status::Completed;
        }
        let ids: Vec<&str> = moves.0.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    }

    #[test]
    fn only_what_is_running_is_cancelled() {
        let mut moves = Moves(vec![new(1)]);
        assert_eq!(moves.cancel("2").unwrap_err().code, Code::ResourceNotFound);
        assert_eq!(moves.cancel("1").unwrap(), 7);
        assert_eq!(moves.cancel("1").unwrap_err().code, Code::UnsupportedOperation);
    }
}
