//! One run: one machine, one process after another, and the judgement.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Broker, Error, ErrorKind, Holder, ManualClock};
use tidegate_engine::simulation::{End, Faults, Machine, Process, Tally};
use tidegate_engine::{Durability, Options};

use super::admin::Admin;
use super::book::Book;
use super::checks;
use super::consumer::{Consumer, Kept};
use super::drain;
use super::executor::Executor;
use super::log_output::LogOutput;
use super::producer::Producer;
use super::scenario::{Ending, FADING, JUDGED, Life, Scenario};
use super::stage::Stage;
use super::trace::{Keep, Trace};

/// How many queues are declared.
const QUEUES: usize = 4;
/// How deep clients go on within the disk calls of others.
const DEPTH_MAX: usize = 2;
/// Steps after which something that waits is taken for stuck.
const STUCK: u32 = 20_000;
/// Times an engine may fail to open on a disk that fails.
const OPENS_MAX: u32 = 20;

/// What one run showed.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) tally: Tally,
    pub(crate) operations: u64,
    pub(crate) deliveries: u64,
    pub(crate) processes: u64,
    pub(crate) violations: Vec<String>,
}

/// Does what the seed says.
pub(crate) fn run(seed: u64, keep: Keep) -> (Run, Arc<Trace>) {
    let trace = Arc::new(Trace::new(keep));
    let told = trace.clone();
    let done = std::panic::catch_unwind(move || {
        let said = LogOutput::default();
        let world = World::new(seed, told, said.clone());
        tracing::subscriber::with_default(said, move || world.all())
    });
    let run = done.unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let violations = vec![format!("panicked: {}", why.unwrap_or_default())];
        Run { seed, violations, ..Run::default() }
    });
    (run, trace)
}

/// A run while it goes on.
pub(crate) struct World {
    seed: u64,
    pub(crate) scenario: Scenario,
    rng: Rng,
    pub(crate) machine: Machine,
    pub(crate) book: Arc<Book>,
    said: LogOutput,
    executor: Arc<Executor>,
    process: Arc<Mutex<Option<Arc<Process>>>>,
    kept: [Kept; 4],
    /// Processes so far.
    pub(crate) number: u64,
    /// When the last process ended, and whether its leases ended with it.
    ended: Option<(u64, bool)>,
    log_id: [u8; 16],
    /// Whether sends are carried out in the order in which they are begun: not where the broker has
    /// to ask for a queue's spec first.
    in_order: bool,
    /// Whether the log cannot be opened any more, and rightly: a disk that lies took a part of it.
    is_lost: bool,
}

impl World {
    fn new(seed: u64, trace: Arc<Trace>, said: LogOutput) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scenario = Scenario::draw(&mut rng);
        trace.line(format_args!("seed {seed}: {scenario:?}"));
        let machine = Machine::new(rng.u64(..), scenario.block);
        if trace.is_kept() {
            let trace = trace.clone();
            machine.trace_to(Arc::new(move |line| trace.line(line)));
        }
        let clock = ManualClock::new();
        let book = Arc::new(Book::new(clock, machine.clone(), trace));
        let mut log_id = [0; 16];
        rng.fill(&mut log_id);
        let world = Self {
            seed,
            scenario,
            machine,
            book,
            said,
            executor: Arc::default(),
            process: Arc::default(),
            kept: Default::default(),
            number: 0,
            ended: None,
            log_id,
            in_order: true,
            is_lost: false,
            rng,
        };
        world.go_on_meanwhile();
        world
    }

    /// Lets clients and time go on while a call of the disk runs.
    fn go_on_meanwhile(&self) {
        let (executor, process) = (self.executor.clone(), Arc::downgrade(&self.process));
        let clock = self.book.clock.clone();
        let rng = Mutex::new(Rng::with_seed(self.seed ^ 0x6d65_616e));
        let depth = AtomicUsize::new(0);
        self.machine.meanwhile(Arc::new(move || {
            if depth.load(Ordering::Relaxed) >= DEPTH_MAX {
                return;
            }
            let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner).fork();
            if rng.u8(0..3) > 0 {
                return;
            }
            depth.fetch_add(1, Ordering::Relaxed);
            for _ in 0..rng.u8(1..6) {
                executor.poll_one(&mut rng);
            }
            if rng.u8(0..8) == 0 {
                clock.advance(Duration::from_millis(rng.u64(1..20)));
                let process = process.upgrade();
                let process = process.and_then(|process| lock(&process).clone());
                process.inspect(|process| process.keep_time());
            }
            depth.fetch_sub(1, Ordering::Relaxed);
        }));
    }

    fn all(mut self) -> Run {
        for life in self.scenario.lives.clone() {
            self.live(life);
        }
        // WHY: twice, because what comes out after a clean close was not gone before it.
        for _ in 0..2 {
            self.drained();
        }
        checks::judge(&self);
        let pages = self.book.pages();
        Run {
            seed: self.seed,
            tally: self.machine.tally(),
            operations: pages.operations,
            deliveries: pages.deliveries,
            processes: self.number,
            violations: pages.violations.clone(),
        }
    }

    /// One process, from its start to its end.
    fn live(&mut self, life: Life) {
        if self.is_lost {
            return;
        }
        if let Ending::InOpen { after, end } = life.ending {
            self.machine.doom(after, end);
        }
        let Some(process) = self.start(self.scenario.faults) else { return self.over() };
        match life.ending {
            Ending::InCall { after, end } => self.machine.doom(after, end),
            Ending::InSync { after, end } => self.machine.doom_sync(after, end),
            Ending::InOpen { .. } | Ending::Between(_) | Ending::Closed(_) => {}
        }
        self.spawn_clients(&process);
        let mut idle = 0;
        for _ in 0..life.steps {
            if !self.machine.is_running() {
                return self.over();
            }
            idle = if self.step(&process) { 0 } else { idle + 1 };
            if idle > 3 || self.rng.u8(0..40) == 0 {
                self.pass_time();
            }
        }
        match life.ending {
            Ending::InOpen { end, .. }
            | Ending::InCall { end, .. }
            | Ending::InSync { end, .. }
            | Ending::Between(end) => self.machine.end(end),
            Ending::Closed(doom) => {
                if let Some((after, end)) = doom {
                    self.machine.doom(after, end);
                }
                self.close(&process);
            }
        }
        self.over();
    }

    /// Opens the engine, looks at what is there, and makes the queues. `None` if the process ended.
    fn start(&mut self, faults: Faults) -> Option<Arc<Process>> {
        self.machine.set_faults(faults);
        let process = Arc::new(self.open()?);
        *lock(&self.process) = Some(process.clone());
        self.book.opened(&self.said);
        if let Some((ended_us, leases_over)) = self.ended.take() {
            // WHY: an open whose sync failed is tried again, and may have taken back what a power cut
            // would have: lease records that nothing says were synced.
            let forgot = self.may_have_forgotten_leases();
            if forgot {
                self.book.pages().cuts_us.push(ended_us);
            }
            self.book.restarted(ended_us, leases_over || forgot);
        }
        if self.rng.u8(0..8) == 0 {
            checks::a_second_open_is_refused(self);
        }
        // WHY: whoever looks or declares waits for a sync. Without that, the first who does anything
        // shows whether the open has synced what it must.
        let all_there = self.scenario.durability == Durability::Always
            && !self.scenario.lies()
            && self.book.pages().declared.len() == QUEUES;
        self.in_order = !all_there || self.rng.u8(0..3) > 0;
        if !self.in_order {
            self.book.pages().issued.clear();
            return Some(process);
        }
        // WHY: what cannot be read for a moment is listed as damaged, and that is no finding.
        self.machine.set_faults(Faults::default());
        self.block_on(&process, checks::after_open(self, process.broker().clone()))?;
        self.machine.set_faults(faults);
        let specs = self.scenario.specs().unwrap_or_else(|error| panic!("{error}"));
        let (broker, book) = (process.broker().clone(), self.book.clone());
        let stage = self.stage(broker);
        let declared = self.block_on(&process, async move {
            for spec in specs {
                match stage.broker.declare(&spec).await {
                    Ok(()) => book.declared(&spec.name),
                    Err(error) => {
                        stage.failed("the opener", &error);
                        return false;
                    }
                }
            }
            true
        })?;
        if !declared {
            self.machine.end(End::Kill);
        }
        declared.then_some(process)
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            durability: self.scenario.durability,
            segment_bytes: self.scenario.segment_bytes,
            payload_memory_bytes: 0,
            clock: Arc::new(self.book.clock.clone()),
            ..Options::new(PathBuf::from("/data/tidegate"))
        }
    }

    /// Starts processes until one has opened the engine, or has ended of itself.
    fn open(&mut self) -> Option<Process> {
        for tried in 0..OPENS_MAX {
            self.number += 1;
            self.said.forget();
            let opened = self.machine.start(&self.options(), self.log_id);
            match opened {
                Ok(process) => return self.machine.is_running().then_some(process),
                Err(_) if !self.machine.is_running() => return None,
                Err(error) => self.refused(&error, tried),
            }
            if self.is_lost {
                self.machine.end(End::Kill);
                return None;
            }
        }
        self.book.violation("the engine cannot be opened on a disk that does not fail");
        None
    }

    /// The engine did not open. On a disk that fails it may say so, and it is tried again.
    fn refused(&mut self, error: &Error, tried: u32) {
        self.book.trace.line(format_args!("open: {error}"));
        let may = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Poisoned);
        let known = error.kind() == ErrorKind::Corrupt && self.may_forget();
        self.is_lost = known;
        if !(may && self.may_fail() || known) {
            self.book.violation(format_args!("the engine does not open: {error:?}"));
        }
        if tried + 3 > OPENS_MAX {
            self.machine.set_faults(Faults::default());
        }
    }

    /// Whether an error can be the disk's fault.
    pub(crate) fn may_fail(&self) -> bool {
        let Faults { syncs_failing, syncs_lying: _, errors, full } = self.scenario.faults;
        syncs_failing + errors + full > 0
    }

    /// Whether a power cut may take anything, synced or not.
    fn may_forget(&self) -> bool {
        self.scenario.lies() || self.scenario.durability == Durability::Never
    }

    fn stage(&self, broker: Broker) -> Stage {
        Stage {
            broker,
            book: self.book.clone(),
            payload_bytes_max: self.scenario.payload_bytes_max,
            may_fail: self.may_fail(),
            may_forget: self.may_forget(),
            in_order: self.in_order,
        }
    }

    fn spawn_clients(&mut self, process: &Process) {
        let stage = Arc::new(self.stage(process.broker().clone()));
        for number in 0..self.scenario.producers {
            let producer = Producer::new(stage.clone(), number, self.number, self.rng.fork());
            self.executor.spawn(Box::pin(producer.run()));
        }
        let queues = JUDGED.into_iter().chain([FADING]);
        for (place, (queue, kept)) in queues.zip(&self.kept).enumerate() {
            for number in 0..self.scenario.consumers {
                let outlives = self.scenario.clients_outlive || (number + place as u64) % 2 == 1;
                let holder = if outlives { Holder::Client } else { Holder::Process };
                let name = format!("consumer-{number}-of-{queue}-{}", self.number);
                let rng = self.rng.fork();
                let consumer = Consumer::new(stage.clone(), queue, name, holder, kept.clone(), rng);
                self.executor.spawn(Box::pin(consumer.run()));
            }
        }
        if self.scenario.admin {
            let admin = Admin::new(stage, self.scenario.purges, self.rng.fork());
            self.executor.spawn(Box::pin(admin.run()));
        }
    }

    /// One thing happens. Whether a client went on.
    fn step(&mut self, process: &Process) -> bool {
        let went_on = match self.rng.u8(0..16) {
            0..2 => {
                process.flush();
                false
            }
            2 => {
                process.clean();
                false
            }
            3 => {
                process.keep_time();
                false
            }
            _ => self.executor.poll_one(&mut self.rng.fork()),
        };
        if self.scenario.durability != Durability::Always && self.machine.is_synced() {
            self.book.all_is_synced();
        }
        went_on
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.rng.u64(1..30));
        self.book.trace.line(format_args!("time passes: {by:?}"));
        self.book.clock.advance(by);
    }

    fn close(&mut self, process: &Arc<Process>) {
        self.executor.clear();
        let (broker, stage) = (process.broker().clone(), self.stage(process.broker().clone()));
        let closed = self.block_on(process, async move { broker.close().await });
        if let Some(Err(error)) = closed {
            stage.failed("the closer", &error);
        }
        self.machine.end(End::Kill);
    }

    /// The process has ended.
    fn over(&mut self) {
        self.executor.clear();
        lock(&self.process).take();
        let ended_us = self.book.process_ended();
        let cut = self.may_have_forgotten_leases();
        if cut {
            self.book.pages().cuts_us.push(ended_us);
        }
        let leases_over = cut || self.scenario.flips || !self.scenario.clients_outlive;
        self.ended = Some(
            self.ended.map_or((ended_us, leases_over), |(at, over)| (at, over || leases_over)),
        );
        if self.rng.u8(0..4) == 0 {
            self.pass_time();
        }
        if self.scenario.flips
            && self.rng.bool()
            && let Some(flip) = self.machine.flip_a_bit()
        {
            self.book.flipped(&flip);
        }
    }

    /// A power cut may forget the newest lease records, and so may a sync that failed.
    fn may_have_forgotten_leases(&self) -> bool {
        let tally = self.machine.tally();
        tally.power_cuts + tally.syncs_failed > 0
    }

    /// A process that completes what is left, and is closed.
    fn drained(&mut self) {
        if self.is_lost {
            return;
        }
        let Some(process) = self.start(Faults::default()) else { return self.over() };
        let stage = Arc::new(self.stage(process.broker().clone()));
        let name = format!("drain-{}", self.number);
        if self.block_on(&process, drain::all(stage, name)).is_some() {
            self.close(&process);
        }
        self.over();
    }

    /// Does everybody's steps until the future has ended. `None` if the process ended before.
    pub(crate) fn block_on<T>(
        &self,
        process: &Process,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..STUCK {
            if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
                return self.machine.is_running().then_some(done);
            }
            if !self.machine.is_running() {
                return None;
            }
            process.flush();
            process.clean();
            process.keep_time();
            self.book.clock.advance(Duration::from_millis(1));
        }
        self.book.violation("something waits for ever");
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
