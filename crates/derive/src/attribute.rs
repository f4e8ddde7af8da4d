//! What `#[task(...)]` says, checked while its spans are at hand.

use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, Error, Ident, LitInt, LitStr, Result};

/// The longest kind in bytes; tidegate-core's `KIND_BYTES_MAX`.
const KIND_BYTES_MAX: usize = 256;
/// The longest queue name in bytes; tidegate-core's `QUEUE_NAME_BYTES_MAX`.
const QUEUE_NAME_BYTES_MAX: usize = 128;

const EXAMPLE: &str = r#"say what it is called on the wire: #[task(kind = "mail.welcome")]"#;

/// What `#[task(...)]` says.
pub(crate) struct Attribute {
    pub(crate) kind: LitStr,
    pub(crate) version: u32,
    pub(crate) queue: Option<LitStr>,
    pub(crate) key: Option<Ident>,
}

#[derive(Default)]
struct Parts {
    kind: Option<LitStr>,
    version: Option<u32>,
    queue: Option<LitStr>,
    key: Option<Ident>,
}

impl Attribute {
    /// Reads all `#[task(...)]` of a type.
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        let mut parts = Parts::default();
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("task")) {
            attribute.parse_nested_meta(|meta| parts.read(&meta))?;
        }
        let kind = parts.kind.ok_or_else(|| Error::new(input.ident.span(), EXAMPLE))?;
        Ok(Self { kind, version: parts.version.unwrap_or(1), queue: parts.queue, key: parts.key })
    }
}

impl Parts {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("kind") {
            set(&mut self.kind, kind(meta)?, meta)
        } else if meta.path.is_ident("version") {
            set(&mut self.version, version(meta)?, meta)
        } else if meta.path.is_ident("queue") {
            set(&mut self.queue, queue(meta)?, meta)
        } else if meta.path.is_ident("key") {
            set(&mut self.key, meta.value()?.parse()?, meta)
        } else {
            Err(meta.error("a task has `kind`, `version`, `queue` and `key`"))
        }
    }
}

fn set<T>(part: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match part.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this is said twice")),
    }
}

fn kind(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let kind: LitStr = meta.value()?.parse()?;
    match kind.value().len() {
        1..=KIND_BYTES_MAX => Ok(kind),
        bytes => {
            let why = format!("a kind has 1 to {KIND_BYTES_MAX} bytes, this one has {bytes}");
            Err(Error::new(kind.span(), why))
        }
    }
}

fn version(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    let literal: LitInt = meta.value()?.parse()?;
    let version = literal.base10_parse::<u32>().ok().filter(|version| *version > 0);
    version.ok_or_else(|| Error::new(literal.span(), "versions count from 1 and fit a u32"))
}

fn queue(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let queue: LitStr = meta.value()?.parse()?;
    let name = queue.value();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let sound = (1..=QUEUE_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(allowed);
    if sound {
        return Ok(queue);
    }
    let why = format!(
        "a queue name has 1 to {QUEUE_NAME_BYTES_MAX} letters, digits, '_', '-' and '.', and does \
         not start with a dot"
    );
    Err(Error::new(queue.span(), why))
}
