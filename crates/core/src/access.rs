//! Who may do what: the rights of a caller that a server lets in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Operation, Result};
use crate::limits::QUEUE_NAME_BYTES_MAX;
use crate::name::QueueName;

/// What can be done to a queue, as far as rights tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Enqueueing tasks.
    Send,
    /// Receiving tasks, and settling and extending their leases.
    Receive,
    /// Looking at the queue and its tasks without taking any.
    Inspect,
    /// Creating, changing, pausing, purging, redriving and deleting.
    Administer,
}

impl Action {
    /// All of them, in the order of their words.
    pub const ALL: [Self; 4] = [Self::Send, Self::Receive, Self::Inspect, Self::Administer];

    /// Its word in files and errors: `send`, `receive`, `inspect`, `administer`.
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

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|action| action.as_str() == word).ok_or_else(|| {
            format!("{word:?} is no action; there are send, receive, inspect and administer")
        })
    }
}

/// Queue names, by what they look like: `*` stands for any run of characters, the empty one
/// included; everything else for itself. `mail.*` are all names that begin with `mail.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Checks `text`: 1 to 128 of `A-Z a-z 0-9 _ - .` and `*`. The error says which rule it breaks.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        match broken_rule(&text) {
            None => Ok(Self(text.into())),
            Some(rule) => Err(format!("{text:?} is not a pattern of queue names: {rule}")),
        }
    }

    /// Whether `queue` is one of the names it stands for.
    pub fn matches(&self, queue: &QueueName) -> bool {
        glob(self.0.as_bytes(), queue.as_str().as_bytes())
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn broken_rule(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty; `*` stands for all names".into());
    }
    if text.len() > QUEUE_NAME_BYTES_MAX {
        return Some(format!("it has {} bytes, at most {QUEUE_NAME_BYTES_MAX} fit", text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
    let stranger = text.chars().find(|c| !allowed(*c))?;
    Some(format!("{stranger:?} is not allowed, only letters, digits, '_', '-', '.' and '*' are"))
}

/// Whether `name` is one that `pattern` stands for. Only the last star is ever tried again, so the
/// work is at most the product of the two lengths.
fn glob(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([b'*', behind @ ..], _) => {
                last_star = Some((behind, name));
                pattern = behind;
            }
            ([p, ps @ ..], [n, ns @ ..]) if p == n => (pattern, name) = (ps, ns),
            ([], []) => return true,
            _ => {
                let Some((behind, [_, shorter @ ..])) = last_star else { return false };
                last_star = Some((behind, shorter));
                (pattern, name) = (behind, shorter);
            }
        }
    }
}

/// Some actions on some queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The queues it is about, those that do not exist yet included.
    pub queues: Pattern,
    /// What may be done to them.
    pub actions: Vec<Action>,
}

/// What a caller may do. What no right allows is denied. Cheap to clone.
///
/// ```
/// # use tidegate_core::{Access, Action, Operation, Pattern, QueueName, Right};
/// let rights = [Right { queues: Pattern::new("mail.*")?, actions: vec![Action::Send] }];
/// let access = Access::of("shop", rights);
/// let queue = QueueName::new("mail.welcome")?;
/// assert!(access.require(Action::Send, &queue, Operation::Enqueue).is_ok());
/// assert!(access.require(Action::Receive, &queue, Operation::Receive).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Access(Grant);

#[derive(Clone, PartialEq, Eq)]
enum Grant {
    Full,
    Rights(Arc<Named>),
}

#[derive(PartialEq, Eq)]
struct Named {
    name: String,
    rights: Vec<Right>,
}

impl Access {
    /// Everything, for callers that need no token.
    pub const fn full() -> Self {
        Self(Grant::Full)
    }

    /// What `rights` allow together. `name` is that of the token in errors and logs; no secret.
    pub fn of(name: impl Into<String>, rights: impl IntoIterator<Item = Right>) -> Self {
        let named = Named { name: name.into(), rights: rights.into_iter().collect() };
        Self(Grant::Rights(Arc::new(named)))
    }

    /// The name of the token; none where everything is allowed without one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Grant::Full => None,
            Grant::Rights(named) => Some(&named.name),
        }
    }

    /// Refuses `action` on `queue` unless a right allows it. The error is `Denied`, met while doing
    /// `operation`, and names the token, the action and the queue. It is the same whether the queue
    /// exists or not.
    pub fn require(&self, action: Action, queue: &QueueName, operation: Operation) -> Result<()> {
        let named = match &self.0 {
            Grant::Full => return Ok(()),
            Grant::Rights(named) => named,
        };
        if named.of(queue).any(|right| right.actions.contains(&action)) {
            return Ok(());
        }
        let text = format!(
            "the token {:?} lacks the right to {action} on {queue:?}; use another token, or add \
             `{action}` to its rights on this queue",
            named.name
        );
        Err(Error::new(ErrorKind::Denied, operation, text).on(queue))
    }

    /// Whether there is any right at all on `queue`: only then it is listed.
    pub fn sees(&self, queue: &QueueName) -> bool {
        match &self.0 {
            Grant::Full => true,
            Grant::Rights(named) => named.of(queue).any(|right| !right.actions.is_empty()),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            None => f.write_str("Access(full)"),
            Some(name) => write!(f, "Access({name:?})"),
        }
    }
}

impl Named {
    fn of(&self, queue: &QueueName) -> impl Iterator<Item = &Right> {
        self.rights.iter().filter(|right| right.queues.matches(queue))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str) -> QueueName {
        QueueName::new(name).unwrap()
    }

    fn right(queues: &str, actions: &[Action]) -> Right {
        Right { queues: Pattern::new(queues).unwrap(), actions: actions.to_vec() }
    }

    fn may(access: &Access, action: Action, name: &str) -> bool {
        access.require(action, &queue(name), Operation::Inspect).is_ok()
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let cases = [
            ("*", "mail", true),
            ("mail", "mail", true),
            ("mail", "mails", false),
            ("mails", "mail", false),
            ("mail.*", "mail.", true),
            ("mail.*", "mail.a.b", true),
            ("mail.*", "mail", false),
            ("mail.*", "mailbox", false),
            ("*.dead", "mail.dead", true),
            ("*.dead", "mail.dead.letters", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a**c", "ac", true),
            ("*a*", "bab", true),
            ("*aab", "aaab", true),
            ("ab*ba", "aba", false),
        ];
        for (pattern, name, matches) in cases {
            let found = Pattern::new(pattern).unwrap().matches(&queue(name));
            assert_eq!(found, matches, "{pattern} and {name}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_the_product_of_the_lengths() {
        let pattern = Pattern::new("a*".repeat(63) + "b").unwrap();
        assert!(!pattern.matches(&queue(&"a".repeat(128))));
    }

    #[test]
    fn patterns_keep_the_rules_of_names() {
        assert!(Pattern::new("").unwrap_err().contains("it is empty"));
        assert!(Pattern::new("mail/*").unwrap_err().contains("'/'"));
        assert!(Pattern::new("x".repeat(129)).unwrap_err().contains("129 bytes"));
    }

    #[test]
    fn what_no_right_allows_is_denied() {
        let access = Access::of(
            "shop",
            [right("mail.*", &[Action::Send]), right("mail.in", &[Action::Receive])],
        );
        assert!(may(&access, Action::Send, "mail.in"));
        assert!(may(&access, Action::Receive, "mail.in"));
        assert!(!may(&access, Action::Inspect, "mail.in"));
        assert!(!may(&access, Action::Receive, "mail.out"));
        assert!(!may(&access, Action::Send, "orders"));
        assert!(!may(&Access::of("none", []), Action::Send, "mail.in"));
    }

    #[test]
    fn full_access_may_do_everything() {
        let access = Access::full();
        assert!(Action::ALL.into_iter().all(|action| may(&access, action, "any")));
        assert!(access.sees(&queue("any")));
        assert_eq!(access.name(), None);
    }

    #[test]
    fn a_denial_names_the_token_the_action_and_the_queue() {
        let access = Access::of("shop", []);
        let error = access.require(Action::Receive, &queue("mail"), Operation::Receive);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            r#"receive from "mail": the token "shop" lacks the right to receive on "mail"; use another token, or add `receive` to its rights on this queue"#
        );
    }

    #[test]
    fn any_right_at_all_lets_a_queue_be_seen() {
        let access = Access::of("shop", [right("mail.*", &[Action::Send]), right("none", &[])]);
        assert!(access.sees(&queue("mail.in")));
        assert!(!access.sees(&queue("orders")));
        assert!(!access.sees(&queue("none")));
    }

    #[test]
    fn actions_are_read_by_their_words() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("write".parse::<Action>().unwrap_err().contains("send, receive, inspect"));
    }
}
