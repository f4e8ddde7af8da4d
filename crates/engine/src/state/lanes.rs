//! Order by key: the tasks of one ordering key stand in a lane, and one lane blocks no other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tidegate_core::Timestamp;

use crate::position::Position;

/// The lanes of a queue.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    free: Vec<u32>,
    by_key: HashMap<Arc<str>, u32>,
    /// What can be received from, longest available first.
    pub(crate) available: BTreeMap<(Timestamp, u64), Available>,
}

/// What can be received from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Available {
    /// The first tasks of a lane.
    Lane(u32),
    /// A task without a key, which may leave once `depends` is durable.
    Single { slot: u32, depends: Position },
}

/// The tasks of one key.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: Arc<str>,
    /// The slots of its tasks in the order of their places.
    pub(crate) tasks: VecDeque<u32>,
    /// How many of them are leased.
    pub(crate) leased: u32,
    /// Where it stands among the available, if it does.
    pub(crate) turn: Option<(Timestamp, u64)>,
    /// The end of the newest record that changed it: a task leaves once that is durable, so that a
    /// successor never leaves before its predecessor's end.
    pub(crate) depends: Position,
}

impl Lanes {
    /// The lane of a key, made where it is missing.
    pub(crate) fn of_key(&mut self, key: &str) -> u32 {
        if let Some(number) = self.by_key.get(key) {
            return *number;
        }
        let key: Arc<str> = key.into();
        let lane = Lane {
            key: key.clone(),
            tasks: VecDeque::new(),
            leased: 0,
            turn: None,
            depends: Position::START,
        };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.lanes.get_mut(number as usize) {
                    *place = lane;
                }
                number
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() as u32 - 1
            }
        };
        self.by_key.insert(key, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Lane> {
        self.lanes.get(number as usize)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Lane> {
        self.lanes.get_mut(number as usize)
    }

    /// Forgets a lane that has no tasks.
    pub(crate) fn drop_empty(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(number as usize).filter(|l| l.tasks.is_empty()) else {
            return;
        };
        lane.tasks = VecDeque::new();
        if self.by_key.remove(&lane.key).is_some() {
            self.free.push(number);
        }
    }

    /// Makes a lane available from its turn, or no longer.
    pub(crate) fn set_turn(&mut self, number: u32, turn: Option<(Timestamp, u64)>) {
        let Some(lane) = self.lanes.get_mut(number as usize) else { return };
        if let Some(old) = std::mem::replace(&mut lane.turn, turn) {
            self.available.remove(&old);
        }
        if let Some(new) = turn {
            self.available.insert(new, Available::Lane(number));
        }
    }
}
