//! Lists and maps of a request, none of which can be long: what is read of a request never takes many times
//! its bytes, however small its elements are.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::limits::{ATTRIBUTES_MAX, BATCH_MAX, FIELDS_MAX};
use super::shapes::MessageAttributeValue;

/// A list. More than [`FIELDS_MAX`] elements are refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

/// Names and values. More than [`FIELDS_MAX`] are refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named(pub(crate) BTreeMap<String, String>);

/// The entries of a batch: as many of them as a batch may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries<T> {
    pub(crate) first: Vec<T>,
    /// How many were sent.
    pub(crate) sent: usize,
}

/// The attributes of a message: as many of them as it may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentAttributes {
    pub(crate) first: BTreeMap<String, MessageAttributeValue>,
    /// How many were sent.
    pub(crate) sent: usize,
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn too_many<E: Error>() -> E {
    E::custom(format_args!("a list has more than {FIELDS_MAX} elements"))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Entries { first, sent } = deserializer.deserialize_seq(Elements::new(FIELDS_MAX))?;
        if sent > first.len() { Err(too_many()) } else { Ok(Self(first)) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements::new(BATCH_MAX))
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (first, sent) = deserializer.deserialize_map(Members::new(FIELDS_MAX))?;
        if sent > FIELDS_MAX { Err(too_many()) } else { Ok(Self(first)) }
    }
}

impl<'de> Deserialize<'de> for SentAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (first, sent) = deserializer.deserialize_map(Members::new(ATTRIBUTES_MAX))?;
        Ok(Self { first, sent })
    }
}

/// Keeps the first elements and counts all.
struct Elements<T> {
    most: usize,
    of: PhantomData<T>,
}

impl<T> Elements<T> {
    const fn new(most: usize) -> Self {
        Self { most, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Entries<T>, A::Error> {
        let mut first = Vec::new();
        while first.len() < self.most {
            let Some(element) = elements.next_element()? else { break };
            first.push(element);
        }
        let mut sent = first.len();
        while elements.next_element::<IgnoredAny>()?.is_some() {
            sent += 1;
        }
        Ok(Entries { first, sent })
    }
}

/// The same of a map. Of members with one name the last counts.
struct Members<T> {
    most: usize,
    of: PhantomData<T>,
}

impl<T> Members<T> {
    const fn new(most: usize) -> Self {
        Self { most, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = (BTreeMap<String, T>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut first, mut others) = (BTreeMap::new(), 0);
        while let Some(name) = members.next_key::<String>()? {
            if first.len() < self.most || first.contains_key(&name) {
                first.insert(name, members.next_value()?);
            } else {
                others += 1;
                let _ = members.next_value::<IgnoredAny>()?;
            }
        }
        let sent = first.len() + others;
        Ok((first, sent))
    }
}

#[cfg(test)]
impl FromIterator<(String, MessageAttributeValue)> for SentAttributes {
    fn from_iter<I: IntoIterator<Item = (String, MessageAttributeValue)>>(attributes: I) -> Self {
        let first = BTreeMap::from_iter(attributes);
        Self { sent: first.len(), first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(elements: usize) -> String {
        format!("[{}]", vec!["\"\""; elements].join(","))
    }

    #[test]
    fn a_list_is_refused_beyond_its_limit_and_a_batch_is_counted() {
        let read = |text: String| serde_json::from_str::<List<String>>(&text);
        assert_eq!(read(list(FIELDS_MAX)).unwrap().len(), FIELDS_MAX);
        assert!(read(list(FIELDS_MAX + 1)).unwrap_err().to_string().contains("more than 1024"));
        let entries: Entries<String> = serde_json::from_str(&list(5_000)).unwrap();
        assert_eq!((entries.first.len(), entries.sent), (BATCH_MAX, 5_000));
    }

    #[test]
    fn maps_have_the_same_limits() {
        let map = |members: usize, value: &str| {
            let members: Vec<String> = (0..members).map(|n| format!("\"{n}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let read = |text: String| serde_json::from_str::<Named>(&text);
        assert_eq!(read(map(FIELDS_MAX, "\"\"")).unwrap().0.len(), FIELDS_MAX);
        assert!(read(map(FIELDS_MAX + 1, "\"\"")).is_err());
        let sent: SentAttributes = serde_json::from_str(&map(5_000, "{}")).unwrap();
        assert_eq!((sent.first.len(), sent.sent), (ATTRIBUTES_MAX, 5_000));
    }
}
