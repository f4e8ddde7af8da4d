//! What a payload is: text that nearly all tasks of a queue share.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The kind of a task: what its payload is and who handles it. Cheap to clone. It reads as a `str`;
/// its length is checked when a task is sent.
///
/// ```
/// # use tidegate_core::Kind;
/// let kind = Kind::from("mail.welcome");
/// assert!(kind.starts_with("mail."));
/// assert_eq!(kind, Kind::from(String::from("mail.welcome")));
/// ```
#[derive(Clone)]
pub struct Kind(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Kind {
    /// The kind as text.
    pub fn as_str(&self) -> &str {
        self
    }
}

impl Deref for Kind {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Kind {
    fn from(text: &'static str) -> Self {
        Self(Text::Static(text))
    }
}

impl From<String> for Kind {
    fn from(text: String) -> Self {
        Self(Text::Shared(text.into()))
    }
}

impl From<Arc<str>> for Kind {
    fn from(text: Arc<str>) -> Self {
        Self(Text::Shared(text))
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().into()
    }
}

impl AsRef<str> for Kind {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Kind {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Kind {}

impl PartialEq<str> for Kind {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Kind {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other)
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // INVARIANT: as a `str` does, which it can be looked up by.
        self.as_str().hash(state);
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_kind_is_found_by_its_text_however_it_is_kept() {
        let mut kinds = HashMap::from([(Kind::from("mail"), 1)]);
        assert_eq!(kinds.get("mail"), Some(&1));
        assert_eq!(kinds.insert(Kind::from(String::from("mail")), 2), Some(1));
        let shared = Kind::from(Arc::<str>::from("a"));
        assert_eq!(shared.cmp(&"b".into()), std::cmp::Ordering::Less);
        assert_eq!(format!("{0} {0:?}", Kind::from("mail")), r#"mail "mail""#);
    }
}
