//! Who may do what: rights on queues by the patterns of their names. What is not allowed is denied.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::name::QueueName;

/// What one may do to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Send tasks to it.
    Send,
    /// Receive from it, and settle and extend what was received.
    Receive,
    /// Look at it and at the tasks in it.
    Inspect,
    /// Create, change, empty, pause and delete it, and redrive its dead.
    Administer,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Send, Self::Receive, Self::Inspect, Self::Administer];

    /// The action as a word in configurations and errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Inspect => "inspect",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which queues are meant: a name in which `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks `pattern`: a queue's name, or one with `*` in it.
    pub fn new(pattern: impl Into<String>) -> Result<Self, String> {
        let pattern = pattern.into();
        // WHY: what is left without the stars must be what names are made of; it may start with a dot.
        let name: String = pattern.replace('*', "").trim_start_matches('.').into();
        if pattern.is_empty() {
            return Err("a pattern of queues is empty; `*` means all".into());
        }
        if !name.is_empty() {
            QueueName::new(&name).map_err(|why| format!("{pattern:?} matches no queue: {why}"))?;
        }
        Ok(Self(pattern))
    }

    /// Whether it means `queue`.
    pub fn matches(&self, queue: &QueueName) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut left) = queue.as_str().strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return left.is_empty() };
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = left.get(at + part.len()..).unwrap_or_default();
        }
        left.ends_with(last)
    }
}

/// What may be done to which queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The queues.
    pub queues: Pattern,
    /// What may be done to them.
    pub actions: Vec<Action>,
}

/// Somebody's rights. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Access(Option<Arc<Grant>>);

#[derive(PartialEq, Eq)]
struct Grant {
    name: String,
    rights: Vec<Right>,
}

impl Access {
    /// Everything may be done.
    pub const fn full() -> Self {
        Self(None)
    }

    /// What `rights` say may be done, and nothing else. `name` is whose rights they are, for errors and
    /// logs.
    pub fn of(name: impl Into<String>, rights: Vec<Right>) -> Self {
        Self(Some(Arc::new(Grant { name: name.into(), rights })))
    }

    /// Fails with `Denied` unless `action` may be done to `queue`.
    pub fn require(&self, action: Action, queue: &QueueName, doing: Operation) -> Result<()> {
        let Some(grant) = &self.0 else { return Ok(()) };
        let mut rights = grant.rights.iter().filter(|right| right.queues.matches(queue));
        if rights.any(|right| right.actions.contains(&action)) {
            return Ok(());
        }
        let name = &grant.name;
        let why =
            format!("{name:?} has no right to `{action}` on it; grant it, or use another token");
        Err(Error::new(ErrorKind::Denied, doing, why).on(queue))
    }

    /// Whether anything at all may be done to `queue`.
    pub fn sees(&self, queue: &QueueName) -> bool {
        let Some(grant) = &self.0 else { return true };
        let has_any = |right: &Right| !right.actions.is_empty() && right.queues.matches(queue);
        grant.rights.iter().any(has_any)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Access(full)"),
            Some(grant) => write!(f, "Access({:?})", grant.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let matches =
            |pattern: &str, queue: &str| Pattern::new(pattern).unwrap().matches(&name(queue));
        for (pattern, queue) in [
            ("*", "mail"),
            ("mail", "mail"),
            ("mail.*", "mail.welcome"),
            ("*.dead", "mail.dead"),
            ("a*b*c", "abc"),
            ("a*b*c", "a-b-b-c"),
            ("*a*", "a"),
            ("mail**", "mail"),
        ] {
            assert!(matches(pattern, queue), "{pattern} {queue}");
        }
        for (pattern, queue) in [
            ("mail", "mails"),
            ("mail.*", "mail"),
            ("*.dead", "mail.dead.letter"),
            ("a*b*c", "acb"),
            ("ab*ba", "aba"),
            ("a*", "ba"),
        ] {
            assert!(!matches(pattern, queue), "{pattern} {queue}");
        }
    }

    #[test]
    fn a_pattern_that_no_name_fits_is_refused() {
        assert!(Pattern::new("").unwrap_err().contains("`*` means all"));
        assert!(Pattern::new("mail/*").unwrap_err().contains("'/'"));
        assert!(Pattern::new("*.*").is_ok());
    }

    #[test]
    fn what_is_not_allowed_is_denied() {
        let queues = Pattern::new("mail.*").unwrap();
        let access = Access::of("mailer", vec![Right { queues, actions: vec![Action::Send] }]);
        let (mail, bills) = (name("mail.welcome"), name("bills"));
        let send = |queue| access.require(Action::Send, queue, Operation::Enqueue);
        assert!(send(&mail).is_ok());
        let error = send(&bills).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Denied, false));
        assert!(error.to_string().contains("\"mailer\" has no right to `send`"), "{error}");
        let receive = access.require(Action::Receive, &mail, Operation::Receive);
        assert_eq!(receive.unwrap_err().kind(), ErrorKind::Denied);
        assert!(access.sees(&mail) && !access.sees(&bills));
        assert!(Access::full().sees(&bills));
        assert!(Access::full().require(Action::Administer, &bills, Operation::Administer).is_ok());
    }
}
