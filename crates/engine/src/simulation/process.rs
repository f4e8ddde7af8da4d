//! One process on a machine: an open engine, and the steps that its threads would do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use futures_lite::future::yield_now;
use tidegate_core::{Broker, LeaseToken, Result};

use super::disk::SimulatedDisk;
use super::machine::Machine;
use crate::disk::Disk;
use crate::engine::Engine;
use crate::flusher::Flusher;
use crate::janitor::Janitor;
use crate::token::Fenced;
use crate::{Options, timekeeper};

/// An open engine without threads.
pub struct Process {
    engine: Arc<Engine>,
    broker: Broker,
    flusher: Mutex<Flusher>,
    janitor: Mutex<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl Machine {
    /// Starts a process that opens the engine. A log that begins here gets this id.
    ///
    /// # Errors
    /// Those of [`crate::open`]; and if the process ended while it opened, any.
    pub fn start(&self, options: &Options, log_id: [u8; 16]) -> Result<Process> {
        let process = self.boot();
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk { machine: self.clone(), process });
        let engine = Arc::new(Engine::open_unattended(options, &disk, log_id)?);
        self.booted(&engine);
        Ok(Process {
            broker: crate::broker(engine.clone(), options),
            flusher: Mutex::new(Flusher::new(options.durability)),
            janitor: Mutex::new(Box::pin(clean(engine.clone()))),
            engine,
        })
    }

    /// Tries to open the engine of the running process a second time.
    ///
    /// # Errors
    /// Always, if the engine is sound.
    pub fn start_beside(&self, options: &Options) -> Result<()> {
        let process = self.lock().process;
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk { machine: self.clone(), process });
        Engine::open_unattended(options, &disk, [0; 16]).map(drop)
    }
}

async fn clean(engine: Arc<Engine>) {
    let stop = AtomicBool::new(false);
    let mut janitor = Janitor::new(&engine.shell, &stop);
    loop {
        janitor.step().await;
        yield_now().await;
    }
}

impl Process {
    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// One step of the flusher.
    pub fn flush(&self) {
        let mut flusher = self.flusher.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = flusher.step(&self.engine.shell);
    }

    /// The janitor goes on until it waits for a sync or has nothing more to do.
    pub fn clean(&self) {
        let mut janitor = self.janitor.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = janitor.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// One step of the timekeeper.
    pub fn keep_time(&self) {
        timekeeper::step(&self.engine.shell);
    }
}

/// The epoch in a lease's fence: the open in which it was handed out. `None` if it is no token of an
/// engine.
pub fn fence_epoch(token: &LeaseToken) -> Option<u32> {
    Fenced::from_token(token).map(|fenced| fenced.fence.epoch())
}
