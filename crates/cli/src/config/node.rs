//! What YAML is made of, each part with its place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::value::Value;

/// A YAML node with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Location,
    pub(super) tree: Tree,
}

#[derive(Debug)]
pub(super) enum Tree {
    Leaf(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
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
        while let Some(part) = seq.next_element::<Node>()? {
            parts.push(part);
        }
        Ok(Tree::List(parts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push(entry);
        }
        Ok(Tree::Map(entries))
    }
}
