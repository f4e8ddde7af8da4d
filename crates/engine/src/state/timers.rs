//! When something happens to a task by itself: it is due, or its lease ends.
//!
//! Leases of one length end in the order in which they began. So a timer goes to the end of one of
//! a few lines that are in order already, and is taken out of its place when the lease is settled:
//! no search, whatever the number. The rare timer that fits no line waits in a tree.

use std::collections::BTreeSet;

use tidegate_core::Timestamp;

use super::slots::NONE;

const LINES: usize = 4;
/// The line of a timer that waits in the tree.
const TREE: u8 = u8::MAX;

/// Who holds a lease, as far as a restart must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The session that received it: the epoch of its open and its number, never used twice.
    pub(crate) session: u64,
    /// Whether the holder outlives this process.
    pub(crate) client: bool,
    /// The length it was given, in milliseconds.
    pub(crate) length_ms: u32,
}

/// A timer, and what else is kept only while a task is scheduled or leased.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    pub(crate) at: Timestamp,
    pub(crate) slot: u32,
    pub(crate) hold: Hold,
    line: u8,
    before: u32,
    after: u32,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    first: u32,
    last: u32,
}

/// All timers.
#[derive(Debug)]
pub(crate) struct Timers {
    timers: Vec<Timer>,
    free: Vec<u32>,
    lines: [Line; LINES],
    tree: BTreeSet<(Timestamp, u32)>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            timers: Vec::new(),
            free: Vec::new(),
            lines: [Line { first: NONE, last: NONE }; LINES],
            tree: BTreeSet::new(),
        }
    }
}

impl Timers {
    /// Sets a timer and tells its number.
    pub(crate) fn set(&mut self, at: Timestamp, slot: u32, hold: Hold) -> u32 {
        let line = self.line_for(at);
        let timer = Timer { at, slot, hold, line: TREE, before: NONE, after: NONE };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.timers.get_mut(number as usize) {
                    *place = timer;
                }
                number
            }
            None => {
                self.timers.push(timer);
                self.timers.len() as u32 - 1
            }
        };
        match line {
            Some(line) => self.append(line, number),
            None => drop(self.tree.insert((at, number))),
        }
        number
    }

    /// The line that ends latest without ending after `at`: so the lines stay far apart.
    fn line_for(&self, at: Timestamp) -> Option<u8> {
        let end = |line: &Line| self.get(line.last).map_or(Timestamp::default(), |timer| timer.at);
        let fitting = self.lines.iter().enumerate().filter(|(_, line)| end(line) <= at);
        fitting.max_by_key(|(_, line)| end(line)).map(|(index, _)| index as u8)
    }

    fn append(&mut self, line: u8, number: u32) {
        let Some(ends) = self.lines.get_mut(line as usize) else { return };
        let last = std::mem::replace(&mut ends.last, number);
        if last == NONE {
            ends.first = number;
        }
        if let Some(timer) = self.timers.get_mut(number as usize) {
            timer.line = line;
            timer.before = last;
        }
        if let Some(timer) = self.timers.get_mut(last as usize) {
            timer.after = number;
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Timer> {
        self.timers.get(number as usize)
    }

    /// Takes a timer out.
    pub(crate) fn clear(&mut self, number: u32) -> Option<Hold> {
        let Timer { at, hold, line, before, after, slot: _ } = *self.get(number)?;
        if line == TREE {
            self.tree.remove(&(at, number));
        } else {
            self.unlink(line, before, after);
        }
        if let Some(timer) = self.timers.get_mut(number as usize) {
            timer.slot = NONE;
        }
        self.free.push(number);
        Some(hold)
    }

    fn unlink(&mut self, line: u8, before: u32, after: u32) {
        let Some(ends) = self.lines.get_mut(line as usize) else { return };
        match self.timers.get_mut(before as usize) {
            Some(timer) => timer.after = after,
            None => ends.first = after,
        }
        match self.timers.get_mut(after as usize) {
            Some(timer) => timer.before = before,
            None => ends.last = before,
        }
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let firsts = self.lines.iter().filter_map(|line| self.get(line.first));
        let first_in_tree = self.tree.first().map(|(at, _)| *at);
        firsts.map(|timer| timer.at).chain(first_in_tree).min()
    }

    /// The slots whose timers are due at exactly `at`, the next moment there is.
    pub(crate) fn due_at(&self, at: Timestamp) -> Vec<u32> {
        let mut slots = Vec::new();
        for line in &self.lines {
            let mut number = line.first;
            while let Some(timer) = self.get(number).filter(|timer| timer.at <= at) {
                slots.push(timer.slot);
                number = timer.after;
            }
        }
        let in_tree = self.tree.iter().take_while(|(due, _)| *due <= at);
        slots.extend(in_tree.filter_map(|(_, number)| self.get(*number)).map(|timer| timer.slot));
        slots
    }

    /// Every timer that is set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Timer> {
        self.timers.iter().filter(|timer| timer.slot != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// Any mix of lengths comes out in the order of time, whatever was cleared in between.
    #[test]
    fn timers_come_due_in_order() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut timers = Timers::default();
        let mut expected: BTreeSet<(Timestamp, u32)> = BTreeSet::new();
        let mut numbers = Vec::new();
        for slot in 0..2_000 {
            let due = at(u64::from(slot) + random.u64(0..5_000));
            numbers.push(timers.set(due, slot, Hold::default()));
            expected.insert((due, slot));
            if slot % 3 == 0 {
                let number = numbers.swap_remove(random.usize(..numbers.len()));
                let timer = timers.get(number).unwrap().clone();
                timers.clear(number);
                assert!(expected.remove(&(timer.at, timer.slot)));
            }
        }
        let mut seen = Vec::new();
        while let Some(next) = timers.next() {
            let mut slots = timers.due_at(next);
            slots.sort_unstable();
            for slot in slots {
                let number =
                    numbers.iter().position(|n| timers.get(*n).unwrap().slot == slot).unwrap();
                timers.clear(numbers.swap_remove(number));
                seen.push((next, slot));
            }
        }
        assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
    }
}
