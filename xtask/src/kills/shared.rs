//! A run with several processes on one directory: one of them holds the engine, the others are attached
//! to it, and now and then one is killed and another one joins.

use std::fs;
use std::io::Read;

use fastrand::Rng;

use tidegate_conformance::history::{Event, Outcome};

use super::hands::TakeOver;
use super::run::{KILLS, wait_for_lines};
use crate::workload::{Rig, Sharer, now_us};

/// Lines of the newest journal after which somebody is killed, at most.
const LINES_MAX: u64 = 600;

/// Works and kills, as often as `seed` says, and completes what is left. Tells how many kills, and how
/// the engine changed hands.
pub(super) fn run(
    rig: &mut Rig,
    seed: u64,
    processes: usize,
) -> (u64, Vec<TakeOver>, Result<(), String>) {
    let mut rng = Rng::with_seed(seed);
    let mut crowd = Crowd { rig, processes: Vec::new(), kills: 0, deaths: Vec::new() };
    let mut worked = crowd.work(&mut rng, processes);
    // WHY: the same end for all, whatever came before it.
    worked = worked.and(crowd.end());
    let Crowd { kills, deaths, .. } = crowd;
    let took_over = deaths.iter().filter_map(|death| death.take_over(&rig.history)).collect();
    (kills, took_over, worked.and_then(|()| rig.drained()))
}

/// The death of a process that held the engine while others were attached.
struct Death {
    killed_us: u64,
    gone_us: u64,
    /// The producers of those who were attached.
    survivors: Vec<String>,
}

impl Death {
    /// How long after it the survivors had answers again, of calls that they began after it. `None` if
    /// one of them was killed before it had one.
    fn take_over(&self, history: &[Event]) -> Option<TakeOver> {
        let answered = |survivor: &String| {
            let by = |event: &&Event| event.client == *survivor && event.start_us >= self.gone_us;
            let answers =
                history.iter().filter(by).filter(|event| event.outcome != Outcome::Unknown);
            answers.map(|event| event.end_us - self.killed_us).min()
        };
        let answered: Vec<u64> = self.survivors.iter().map(answered).collect::<Option<_>>()?;
        let (first_us, all_us) = (*answered.iter().min()?, *answered.iter().max()?);
        Some(TakeOver { first_us, all_us })
    }
}

struct Crowd<'a> {
    rig: &'a mut Rig,
    /// The youngest last.
    processes: Vec<Sharer>,
    kills: u64,
    deaths: Vec<Death>,
}

impl Crowd<'_> {
    fn work(&mut self, rng: &mut Rng, processes: usize) -> Result<(), String> {
        for _ in 0..processes {
            self.join()?;
        }
        for _ in 0..rng.u64(KILLS) {
            if let Some(youngest) = self.processes.last_mut() {
                let lines = rng.u64(1..LINES_MAX);
                if !wait_for_lines(&mut youngest.process, &youngest.journal, lines)? {
                    return Err(last_words(youngest));
                }
            }
            let holder = self.holder();
            let anyone = rng.usize(0..self.processes.len());
            self.kill(holder.filter(|_| rng.bool()).unwrap_or(anyone))?;
            self.join()?;
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), String> {
        let sharer = self.rig.share().map_err(|error| error.to_string())?;
        self.processes.push(sharer);
        Ok(())
    }

    /// Which of them holds the engine, as the lock says.
    fn holder(&self) -> Option<usize> {
        let said = fs::read_to_string(self.rig.data().join("LOCK")).ok()?;
        let id = said.split_whitespace().nth(1)?.parse::<u32>().ok()?;
        self.processes.iter().position(|sharer| sharer.process.id() == id)
    }

    fn kill(&mut self, which: usize) -> Result<(), String> {
        let holds = self.holder() == Some(which);
        let mut killed = self.processes.remove(which);
        if killed.process.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Err(last_words(&mut killed));
        }
        let killed_us = now_us();
        killed.process.kill().map_err(|error| error.to_string())?;
        killed.process.wait().map_err(|error| error.to_string())?;
        let gone_us = now_us();
        self.kills += 1;
        self.rig.left(&killed, gone_us)?;
        if holds {
            let survivors = self.processes.iter().map(|sharer| sharer.producer.clone()).collect();
            self.deaths.push(Death { killed_us, gone_us, survivors });
            self.rig.changed_hands(killed_us, gone_us);
        }
        Ok(())
    }

    /// Kills all that are left, whoever holds the engine.
    fn end(&mut self) -> Result<(), String> {
        let mut ended = Ok(());
        let from_us = now_us();
        while !self.processes.is_empty() {
            ended = ended.and(self.kill(0));
        }
        self.rig.changed_hands(from_us, now_us());
        ended
    }
}

/// What a process said that ended by itself.
pub(crate) fn last_words(sharer: &mut Sharer) -> String {
    let mut said = String::new();
    if let Some(stderr) = sharer.process.stderr.as_mut() {
        // What cannot be read was not said.
        let _ = stderr.read_to_string(&mut said);
    }
    format!("a process ended by itself: {}", said.trim())
}
