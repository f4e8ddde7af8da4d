//! One run: load, and everything that can go wrong in an order drawn by lot.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::ChaosArgs;
use super::proxy::Proxy;
use super::server::Server;
use crate::kills::{last_words, wait_for_lines};
use crate::workload::{Rig, Sharer, now_us};

/// Lines of the newest journal after which something happens, at most.
const LINES_MAX: u64 = 300;
/// Bytes of answers that pass before a cut, at most: a few answers of many sizes.
const CUT_BYTES_MAX: u32 = 4_096;
/// A cut that does not come in this time will not.
const STUCK: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Kill,
    Restart,
    Cut,
}

/// Works, has trouble, and completes what is left.
pub(super) fn run(
    rig: Rig,
    server: Server,
    args: &ChaosArgs,
) -> Result<(Rig, Result<(), String>), String> {
    let proxy = Proxy::open(server.port()).map_err(|error| error.to_string())?;
    let rig = rig.on(args.server.url(proxy.port));
    let mut play =
        Play { rig, server, proxy, processes: Vec::new(), rng: Rng::with_seed(args.seed) };
    let worked = play.all(args).and_then(|()| play.end());
    Ok((play.rig, worked))
}

struct Play {
    rig: Rig,
    server: Server,
    proxy: Proxy,
    /// The youngest last.
    processes: Vec<Sharer>,
    rng: Rng,
}

impl Play {
    fn all(&mut self, args: &ChaosArgs) -> Result<(), String> {
        let kinds = [
            (Trouble::Kill, args.kills),
            (Trouble::Restart, args.restarts),
            (Trouble::Cut, args.cuts),
        ];
        let mut troubles: Vec<Trouble> = Vec::new();
        for (trouble, count) in kinds {
            troubles.extend((0..count).map(|_| trouble));
        }
        self.rng.shuffle(&mut troubles);
        for _ in 0..args.processes.max(1) {
            self.join()?;
        }
        for trouble in troubles {
            self.work_a_while()?;
            match trouble {
                Trouble::Kill => self.kill()?,
                Trouble::Restart => self.restart()?,
                Trouble::Cut => self.cut()?,
            }
        }
        self.work_a_while()
    }

    fn join(&mut self) -> Result<(), String> {
        let sharer = self.rig.share().map_err(|error| error.to_string())?;
        self.processes.push(sharer);
        Ok(())
    }

    /// WHY: every process has to go on, so that one which never comes back after a trouble is found out.
    fn work_a_while(&mut self) -> Result<(), String> {
        let lines = self.rng.u64(1..LINES_MAX);
        for sharer in &mut self.processes {
            let more = sharer.lines()? + lines;
            if !wait_for_lines(&mut sharer.process, &sharer.journal, more)? {
                return Err(last_words(sharer));
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), String> {
        let which = self.rng.usize(0..self.processes.len());
        let mut killed = self.processes.remove(which);
        killed.process.kill().map_err(|error| error.to_string())?;
        killed.process.wait().map_err(|error| error.to_string())?;
        self.rig.left(&killed, now_us())?;
        self.join()
    }

    fn restart(&mut self) -> Result<(), String> {
        let from_us = now_us();
        self.server.restart()?;
        self.rig.changed_hands(from_us, now_us());
        Ok(())
    }

    fn cut(&mut self) -> Result<(), String> {
        let before = self.proxy.cuts();
        self.proxy.cut_after(self.rng.u32(0..CUT_BYTES_MAX));
        let begun = Instant::now();
        while self.proxy.cuts() == before {
            if begun.elapsed() > STUCK {
                return Err(format!("no answer passed for {STUCK:?}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Kills all workers and lets one complete what is left.
    fn end(&mut self) -> Result<(), String> {
        for mut sharer in std::mem::take(&mut self.processes) {
            sharer.process.kill().map_err(|error| error.to_string())?;
            sharer.process.wait().map_err(|error| error.to_string())?;
            self.rig.left(&sharer, now_us())?;
        }
        self.rig.drained()
    }
}
