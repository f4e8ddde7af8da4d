//! A configuration file: YAML in, one value per key out, each with its place.

use std::ops::Range;
use std::path::Path;

use serde_saphyr::Location;

use super::keys::{self, Key};
use super::node::{Node, Tree};
use super::problem::{Origin, Problem};
use super::value::Value;

/// One key as a file or the environment sets it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Reads the text of the file at `path`. The first thing that is wrong with it is the error.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Setting>, Problem> {
    let file = File { path, text, has_secrets: false };
    let mut settings = Vec::new();
    if let Some(root) = file.root()? {
        file.walk("", root, &mut settings)?;
    }
    Ok(settings)
}

/// A file that is read.
pub(super) struct File<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
    /// Whether none of its text may be shown.
    pub(super) has_secrets: bool,
}

impl File<'_> {
    /// What the file holds; none if it is empty but for comments.
    pub(super) fn root(&self) -> Result<Option<Node>, Problem> {
        let is_void = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if self.text.lines().all(is_void) {
            return Ok(None);
        }
        serde_saphyr::from_str(self.text).map(Some).map_err(|error| self.not_yaml(&error))
    }

    fn walk(&self, path: &str, node: Node, settings: &mut Vec<Setting>) -> Result<(), Problem> {
        match node.tree {
            Tree::Map(entries) if path.is_empty() || keys::is_block(path) => {
                for (name, child) in entries {
                    let path = match path {
                        "" => name.value.clone(),
                        block => format!("{block}.{}", name.value),
                    };
                    self.enter(&path, name.referenced, child, settings)?;
                }
                Ok(())
            }
            Tree::Leaf(Value::Nothing) => Ok(()),
            Tree::Leaf(_) | Tree::List(_) if path.is_empty() => {
                Err(self.problem(node.at, "the file is not a map of blocks".to_owned()))
            }
            Tree::Leaf(value) => {
                let what = format!("`{path}` is a block of keys, but {value} stands there");
                Err(self.problem(node.at, what))
            }
            Tree::List(_) => {
                let what = format!("`{path}` is a block of keys, but a list stands there");
                Err(self.problem(node.at, what))
            }
            Tree::Map(_) => {
                Err(self.problem(node.at, format!("`{path}` takes one value, not keys")))
            }
        }
    }

    fn enter(
        &self,
        path: &str,
        name: Location,
        child: Node,
        settings: &mut Vec<Setting>,
    ) -> Result<(), Problem> {
        if keys::is_block(path) {
            return self.walk(path, child, settings);
        }
        let Some(key) = keys::find(path) else {
            return Err(unknown(path, self.problem(name, format!("unknown key `{path}`"))));
        };
        settings.push(self.setting(key, child)?);
        Ok(())
    }

    fn setting(&self, key: &'static Key, node: Node) -> Result<Setting, Problem> {
        let at = node.at;
        let written = self.value(node, key)?;
        let value =
            key.read(written).map_err(|why| self.problem(at, format!("`{}`: {why}", key.path)))?;
        Ok(Setting { key: key.path, value, origin: self.origin(at) })
    }

    fn value(&self, node: Node, key: &Key) -> Result<Value, Problem> {
        let path = key.path;
        match node.tree {
            Tree::Leaf(value) => Ok(value),
            Tree::Map(_) => {
                Err(self.problem(node.at, format!("`{path}` takes one value, not keys")))
            }
            Tree::List(parts) => {
                let part = |part: Node| match part.tree {
                    Tree::Leaf(value) => Ok(value),
                    _ => Err(self.problem(part.at, format!("`{path}`: a list holds values only"))),
                };
                parts.into_iter().map(part).collect::<Result<_, _>>().map(Value::List)
            }
        }
    }

    fn not_yaml(&self, error: &serde_saphyr::Error) -> Problem {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("a key");
                self.problem(at, format!("duplicate key `{key}`"))
                    .with_help("keep one of the two; which one would count is anybody's guess")
            }
            _ if self.has_secrets => self
                .problem(at, "this is not YAML".to_owned())
                .with_help("put a text with signs in it into quotes"),
            plain => {
                let what = plain.to_string();
                let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
                self.problem(at, format!("this is not YAML: {what}"))
            }
        }
    }

    /// Something wrong at a place.
    pub(super) fn problem(&self, at: Location, what: String) -> Problem {
        let origin = self.origin(at);
        let problem = Problem::at(&origin, what);
        if self.has_secrets { problem } else { problem.shown_in(&origin, self.text) }
    }

    fn origin(&self, at: Location) -> Origin {
        let (line, column) = (at.line().max(1), at.column().max(1));
        Origin::File { path: self.path.to_owned(), line, column, bytes: self.bytes(at) }
    }

    /// The bytes that a location covers, cut to the text.
    fn bytes(&self, at: Location) -> Range<usize> {
        let start = at.span().byte_offset().unwrap_or(0) as usize;
        let len = at.span().byte_len().unwrap_or(0).max(1) as usize;
        let start = start.min(self.text.len());
        let end = (start + len).min(self.text.len());
        let line = self.text.get(start..end).and_then(|text| text.find('\n'));
        start..line.map_or(end, |newline| start + newline)
    }
}

/// Names the nearest known key, or where all of them are listed.
pub(crate) fn unknown(path: &str, problem: Problem) -> Problem {
    match keys::nearest(path) {
        Some(near) => problem.with_help(format!("did you mean `{near}`?")),
        None => problem.with_help("`tidegate config check --help` lists all keys"),
    }
}
