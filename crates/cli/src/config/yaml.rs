//! A configuration file: YAML in, one value per key out, each with its place.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::keys::{self, Key};
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
    let file = File { path, text };
    if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
        return Ok(Vec::new());
    }
    let root: Node = serde_saphyr::from_str(text).map_err(|error| file.not_yaml(&error))?;
    let mut settings = Vec::new();
    file.walk("", root, &mut settings)?;
    Ok(settings)
}

/// A YAML node with its place.
#[derive(Debug)]
struct Node {
    at: Location,
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    Leaf(Value),
    Map(Vec<(Spanned<String>, Node)>),
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
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
            Tree::Leaf(value) => {
                let what = match path {
                    "" => "the file is not a map of blocks".to_owned(),
                    block => format!("`{block}` is a block of keys, but {value} stands there"),
                };
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
        let Tree::Leaf(written) = node.tree else {
            return Err(self.problem(node.at, format!("`{}` takes one value, not keys", key.path)));
        };
        let value = key
            .read(written)
            .map_err(|why| self.problem(node.at, format!("`{}`: {why}", key.path)))?;
        Ok(Setting { key: key.path, value, origin: self.origin(node.at) })
    }

    fn not_yaml(&self, error: &serde_saphyr::Error) -> Problem {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_deref().unwrap_or("a key");
                self.problem(at, format!("duplicate key `{key}`"))
                    .with_help("keep one of the two; which one would count is anybody's guess")
            }
            plain => {
                let what = plain.to_string();
                let what = what.split(" at line ").next().unwrap_or(&what).to_owned();
                self.problem(at, format!("this is not YAML: {what}"))
            }
        }
    }

    fn problem(&self, at: Location, what: String) -> Problem {
        let origin = self.origin(at);
        Problem::at(&origin, what).shown_in(&origin, self.text)
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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced, tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a block of keys")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Nothing))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Flag(flag)))
    }

    fn visit_u64<E>(self, count: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Count(count)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        let value = u64::try_from(number).map_or(Value::Factor(number as f64), Value::Count);
        Ok(Tree::Leaf(value))
    }

    fn visit_f64<E>(self, factor: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Factor(factor)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element::<Tree>()? {
            match part {
                Tree::Leaf(value) => parts.push(value),
                Tree::Map(_) => return Err(serde::de::Error::custom("a list holds values only")),
            }
        }
        Ok(Tree::Leaf(Value::List(parts)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
