//! What must be in the queues, from what the clients were told: nothing is lost, nothing comes twice.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_core::{Broker, DeadFilter, ListOptions, QueueName};
use tidegate_remote::proto::work_request::Step;
use tidegate_remote::proto::{self, Outcome};

/// The queues that nobody has the right to empty.
pub const KEPT: [&str; 2] = ["a", "b"];

/// By its number, which is no other's in the broker.
type Task = u64;

#[derive(Default)]
pub struct Ledger {
    /// Acknowledged sends, and the queues they went to.
    sent: BTreeMap<Task, String>,
    /// Completed with a token that was accepted.
    completed: BTreeSet<Task>,
    /// What became of them was told to nobody.
    in_doubt: BTreeSet<Task>,
    /// Whether there may be tasks whose send was answered to nobody.
    has_unheard_sends: bool,
    leases: BTreeMap<Vec<u8>, Lease>,
    /// Tokens in the order in which they were seen.
    pub tokens: Vec<Vec<u8>>,
}

struct Lease {
    task: Task,
    number: usize,
    until_ms: u64,
    /// Whether nobody can have settled or released it.
    is_held: bool,
    /// Whether somebody settled it for certain.
    is_over: bool,
}

impl Ledger {
    pub fn enqueued(&mut self, queue: &str, outcome: &proto::Enqueued) {
        if outcome.error.is_none() && !outcome.deduplicated {
            let before = self.sent.insert(outcome.sequence, queue.to_owned());
            assert!(before.is_none(), "two sends became one task: {outcome:?}");
        }
    }

    pub fn leased(&mut self, lease: &proto::Lease, now_ms: u64) {
        let task = lease.task.as_ref().expect("a lease has a task").sequence;
        if let Some(known) = self.leases.get_mut(&*lease.token) {
            // A receive that was made again.
            assert!(known.task == task && !known.is_over, "{task} has a token that is over");
            let has_ended = known.is_held && known.until_ms <= now_ms;
            assert!(!has_ended, "{task} has a token whose time was over at {now_ms}");
            (known.until_ms, known.is_held) = (lease.until_ms, true);
            return;
        }
        let held = |known: &&Lease| known.task == task && known.is_held && known.until_ms > now_ms;
        if let Some(other) = self.leases.values().find(held) {
            panic!("{task} is leased until {} and was leased again at {now_ms}", other.until_ms);
        }
        let token = lease.token.to_vec();
        let number = self.tokens.len();
        self.tokens.push(token.clone());
        let until_ms = lease.until_ms;
        let record = Lease { task, number, until_ms, is_held: true, is_over: false };
        self.leases.insert(token, record);
    }

    /// A verdict that was carried out or not.
    pub fn settled(&mut self, token: &[u8], outcome: i32) {
        let is_carried_out = matches!(
            Outcome::try_from(outcome).expect("an outcome of the protocol"),
            Outcome::Done | Outcome::Ready | Outcome::Scheduled | Outcome::Dead
        );
        if !is_carried_out {
            return;
        }
        let lease = self.leases.get_mut(token).expect("a token that was given out");
        (lease.is_held, lease.is_over) = (false, true);
        let (task, number) = (lease.task, lease.number);
        let is_stale = |other: &Lease| other.task == task && other.number > number;
        assert!(!self.leases.values().any(is_stale), "a stale token settled {task}");
        if outcome == i32::from(Outcome::Done) {
            self.completed.insert(task);
        }
    }

    pub fn extended(&mut self, token: &[u8], outcome: i32, until_ms: u64) {
        if outcome == i32::from(Outcome::Leased) {
            self.leases.get_mut(token).expect("a token that was given out").until_ms = until_ms;
        }
    }

    /// Leases that may have been given back.
    pub fn released(&mut self, tokens: &BTreeSet<Vec<u8>>) {
        for token in tokens {
            self.leases.get_mut(token).expect("a token that was given out").is_held = false;
        }
    }

    pub fn doubt_send(&mut self) {
        self.has_unheard_sends = true;
    }

    /// A step whose answer nobody hears.
    pub fn doubt_step(&mut self, step: Option<&Step>) {
        let tokens: Vec<Vec<u8>> = match step {
            Some(Step::Settle(settle)) => {
                settle.decisions.iter().map(|decision| decision.token.to_vec()).collect()
            }
            Some(Step::Extend(extend)) => {
                extend.extensions.iter().map(|extension| extension.token.to_vec()).collect()
            }
            _ => Vec::new(),
        };
        for token in tokens {
            if let Some(lease) = self.leases.get_mut(&token) {
                lease.is_held = false;
                self.in_doubt.insert(lease.task);
            }
        }
    }

    /// Compares with what is there.
    pub async fn check(&self, broker: &Broker) {
        let inspect = broker.inspect().expect("memory inspects");
        let mut there: BTreeSet<Task> = BTreeSet::new();
        for kept in KEPT {
            let queue = QueueName::new(kept).expect("a name");
            let all = ListOptions { state: None, after: None, limit: 100_000 };
            let mut views = inspect.list(&queue, &all).await.expect("a list");
            let all = DeadFilter { limit: Some(100_000), reason: None };
            views.extend(inspect.dead(&queue, &all).await.expect("a list"));
            there.extend(views.into_iter().map(|view| view.task.sequence));
        }
        for (task, _) in self.sent.iter().filter(|(_, queue)| KEPT.contains(&queue.as_str())) {
            let is_certain = !self.in_doubt.contains(task) && !self.completed.contains(task);
            assert!(!is_certain || there.contains(task), "{task} is lost");
        }
        for task in &there {
            assert!(!self.completed.contains(task), "{task} was completed and is there");
            assert!(self.has_unheard_sends || self.sent.contains_key(task), "nobody sent {task}");
        }
    }
}
