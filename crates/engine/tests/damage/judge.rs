//! Whether what came out of a damaged log is what may come out of it.
//!
//! It is known of every byte which frame it belongs to, of every frame which tasks it holds and
//! whether a sound frame says that it was synced; so it is known beforehand what must be served,
//! what must be named, and what may go as the tail.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;
use tidegate_core::{Error, ErrorKind, Task, TaskId};
use tidegate_engine::Found;

use super::harm::Harm;
use super::map::FrameAt;
use super::scene::{Scene, Truth};

/// How a damage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// No frame is affected: everything is served and nothing is named.
    Harmless,
    /// It is named, and all else is served.
    Named,
    /// It is above the newest sync that can be read, so the log ends before it.
    Tail,
    /// The open says what is wrong, and nothing is served.
    Refused,
}

/// What an open showed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) found: Found,
    /// Every task that was served, as often as it was.
    pub(crate) tasks: Vec<Task>,
    /// The same after another open, where there was one.
    pub(crate) again: Option<Vec<Task>>,
}

/// Frames, and which tasks each of them holds.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    scene: &'a Scene,
    holding: BTreeMap<TaskId, Vec<u64>>,
}

/// Tasks that went with a damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) tasks: usize,
    /// Those of them that lie in sound frames, whose queue is not known without the damaged one.
    pub(crate) in_sound_frames: usize,
}

/// A verdict: the class and what was lost, or what must not be.
pub(crate) type Verdict = Result<(Class, Lost), String>;

impl<'a> Judge<'a> {
    pub(crate) fn new(scene: &'a Scene) -> Self {
        let mut holding: BTreeMap<TaskId, Vec<u64>> = BTreeMap::new();
        for (id, (_, task)) in &scene.truth.live {
            let mark = &task.payload[..12];
            let holds = |frame: &&FrameAt| {
                let bytes = &scene.files[&frame.file][frame.bytes.clone()];
                memmem::find(bytes, mark).is_some()
            };
            let frames: Vec<u64> =
                scene.frames.iter().filter(holds).map(|frame| frame.lsn).collect();
            assert!(!frames.is_empty(), "no frame holds {:?}", task.kind);
            holding.insert(*id, frames);
        }
        Self { scene, holding }
    }

    /// Judges what an open of the damaged log showed.
    pub(crate) fn judge(&self, harm: &Harm, seen: &Result<Seen, Error>) -> Verdict {
        let harmed = self.harmed(harm);
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => return refused(harm, error),
        };
        well_served(&self.scene.truth, &seen.tasks)?;
        let ids = |tasks: &[Task]| tasks.iter().map(|task| task.id).collect::<BTreeSet<_>>();
        if seen.again.as_ref().is_some_and(|again| ids(again) != ids(&seen.tasks)) {
            return Err("another open serves other tasks".into());
        }
        let sound = self.scene.frames.iter().filter(|frame| !harmed.contains(&frame.lsn));
        let synced = sound.map(|frame| frame.synced_up_to).max().unwrap_or_default();
        let named = |lsn: u64| {
            let mut damage = seen.found.damage.iter();
            damage.any(|damage| (damage.from_frame..damage.to_frame).contains(&lsn))
        };
        if let Some(lsn) = harmed.iter().find(|lsn| **lsn <= synced && !named(**lsn)) {
            return Err(format!("frame {lsn} is damaged, was synced (up to {synced}), not named"));
        }
        let tail = harmed.iter().find(|lsn| **lsn > synced);
        let nothing_found = seen.found.damage.is_empty();
        if tail.is_none() && harmed.is_empty() != nothing_found {
            return Err(format!("{} frames are damaged, found {:?}", harmed.len(), seen.found));
        }
        if let Some(tail) = tail
            && seen.found.was_closed
        {
            return Err(format!("frame {tail} is gone and the log is said to be closed"));
        }
        let in_tail = |lsn: u64| tail.is_some_and(|tail| *tail <= lsn);
        let lost = self.lost(&ids(&seen.tasks), &harmed, |lsn| named(lsn) || in_tail(lsn))?;
        self.returned(&ids(&seen.tasks), &harmed)?;
        let class = match (harmed.is_empty(), tail) {
            (true, _) => Class::Harmless,
            (false, None) => Class::Named,
            (false, Some(_)) if nothing_found => Class::Tail,
            (false, Some(_)) => Class::Named,
        };
        Ok((class, lost))
    }

    /// The frames with a byte that is another.
    fn harmed(&self, harm: &Harm) -> BTreeSet<u64> {
        let Some(before) = self.scene.files.get(harm.file()) else { return BTreeSet::new() };
        let after = harm.apply(&self.scene.files).unwrap_or_default();
        let of_file = self.scene.frames.iter().filter(|frame| frame.file == harm.file());
        let is_harmed =
            |frame: &&FrameAt| before.get(frame.bytes.clone()) != after.get(frame.bytes.clone());
        of_file.filter(is_harmed).map(|frame| frame.lsn).collect()
    }

    /// How many tasks are not there, each in frames that may be gone.
    fn lost(
        &self,
        served: &BTreeSet<TaskId>,
        harmed: &BTreeSet<u64>,
        may_be_gone: impl Fn(u64) -> bool,
    ) -> Result<Lost, String> {
        let lost = self.holding.iter().filter(|(id, _)| !served.contains(id));
        let mut count = Lost::default();
        for (id, frames) in lost {
            if let Some(lsn) = frames.iter().find(|lsn| !may_be_gone(**lsn)) {
                return Err(format!("{id} is lost, and frame {lsn} that holds it is not named"));
            }
            count.tasks += 1;
            count.in_sound_frames += usize::from(frames.iter().any(|lsn| !harmed.contains(lsn)));
        }
        Ok(count)
    }

    /// Completed tasks come back only if a frame is gone that said so.
    fn returned(&self, served: &BTreeSet<TaskId>, harmed: &BTreeSet<u64>) -> Result<(), String> {
        let returned = self.scene.truth.completed.keys().find(|id| served.contains(id));
        match returned {
            Some(id) if harmed.is_empty() => Err(format!("{id} was completed and is back")),
            _ => Ok(()),
        }
    }
}

/// An open may refuse a log without one of its segments, and nothing else.
fn refused(harm: &Harm, error: &Error) -> Verdict {
    let names_it = error.kind() == ErrorKind::Corrupt && error.to_string().contains(harm.file());
    match harm {
        Harm::Missing { .. } if names_it => Ok((Class::Refused, Lost::default())),
        _ => Err(format!("it is refused: {error}")),
    }
}

/// Every task is one that was sent, as it was sent, once.
fn well_served(truth: &Truth, tasks: &[Task]) -> Result<(), String> {
    let mut served = BTreeSet::new();
    for task in tasks {
        let Some((queue, sent)) = truth.sent(&task.id) else {
            return Err(format!("{} was never sent", task.id));
        };
        let same = task.queue == *queue
            && task.kind == sent.kind
            && task.payload == sent.payload
            && task.headers == sent.headers
            && task.priority == sent.priority
            && task.ordering_key == sent.ordering_key;
        if !same {
            return Err(format!("{} is not what was sent", task.id));
        }
        if !served.insert(task.id) {
            return Err(format!("{} is served twice", task.id));
        }
    }
    Ok(())
}
