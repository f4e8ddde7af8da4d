//! Every message of the protocol, with every field set and every value of every enum, no two fields
//! alike.

mod looks;
mod queues;
mod sends;
mod words;
mod works;

use std::fmt::Debug;

use prost::Message;

/// Whether bytes are read as a message.
type Reads = Box<dyn Fn(&[u8]) -> bool>;

/// A message with the name of its line: the message's own, and after a dot what is special about it.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether these bytes are read as the message.
    pub(crate) reads: Reads,
}

fn sample<M>(name: impl Into<String>, message: M) -> Sample
where
    M: Message + Default + PartialEq + Debug + 'static,
{
    let bytes = message.encode_to_vec();
    let reads = Box::new(move |bytes: &[u8]| M::decode(bytes).is_ok_and(|read| read == message));
    Sample { name: name.into(), bytes, reads }
}

/// All of them, in the order of the file.
pub(crate) fn all() -> Vec<Sample> {
    let groups = [words::all(), queues::all(), sends::all(), works::all(), looks::all()];
    groups.into_iter().flatten().collect()
}
