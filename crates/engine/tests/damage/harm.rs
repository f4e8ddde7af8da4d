//! What can become of a log on its disk.

use std::fmt;

use super::map::{Files, segment, segment_id};
use super::scene::Scene;

/// Bytes of a range that is filled with zeros, and how far apart such ranges begin.
const ZEROED: [(usize, usize); 3] = [(64, 48), (512, 256), (4_096, 1_024)];

/// One thing that happened to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// One bit is another.
    Flip { file: String, bit: usize },
    /// The file ends early.
    Cut { file: String, len: usize },
    /// A range holds zeros.
    Zero { file: String, from: usize, len: usize },
    /// A segment holds what another file held.
    Replaced { file: String, by: String },
    /// There is another segment, with what one of the segments holds.
    Added { file: String, copy_of: String },
    /// A file is not there.
    Missing { file: String },
}

/// The kinds of harm, in the order in which they are printed.
pub(crate) const KINDS: [&str; 6] =
    ["bit flipped", "cut off", "zeros", "replaced", "added", "missing"];

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { file, bit } => write!(f, "bit {bit} of {file} flipped"),
            Self::Cut { file, len } => write!(f, "{file} cut off at {len}"),
            Self::Zero { file, from, len } => write!(f, "{len} zeros in {file} from {from}"),
            Self::Replaced { file, by } => write!(f, "{file} replaced by {by}"),
            Self::Added { file, copy_of } => write!(f, "{file} added, a copy of {copy_of}"),
            Self::Missing { file } => write!(f, "{file} missing"),
        }
    }
}

impl Harm {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Flip { .. } => "bit flipped",
            Self::Cut { .. } => "cut off",
            Self::Zero { .. } => "zeros",
            Self::Replaced { .. } => "replaced",
            Self::Added { .. } => "added",
            Self::Missing { .. } => "missing",
        }
    }

    /// The file that is another than before.
    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Flip { file, .. }
            | Self::Cut { file, .. }
            | Self::Zero { file, .. }
            | Self::Replaced { file, .. }
            | Self::Added { file, .. }
            | Self::Missing { file } => file,
        }
    }

    /// Whether it is worth a second open: all of it but most of the flipped bits, which are many.
    pub(crate) fn is_opened_twice(&self) -> bool {
        !matches!(self, Self::Flip { bit, .. } if bit % 8 > 0)
    }

    /// What that file holds then; nothing if it is not there.
    pub(crate) fn apply(&self, files: &Files) -> Option<Vec<u8>> {
        let mut bytes = files.get(self.file()).cloned().unwrap_or_default();
        match self {
            Self::Flip { bit, .. } => bytes[bit / 8] ^= 1 << (bit % 8),
            Self::Cut { len, .. } => bytes.truncate(*len),
            Self::Zero { from, len, .. } => {
                let end = (from + len).min(bytes.len());
                bytes[*from..end].fill(0);
            }
            Self::Replaced { by: other, .. } | Self::Added { copy_of: other, .. } => {
                bytes = files.get(other).cloned().unwrap_or_default();
            }
            Self::Missing { .. } => return None,
        }
        Some(bytes)
    }

    /// All of it for the last `count` segments of a scene; of bits and bytes every `every`-th.
    pub(crate) fn all(scene: &Scene, count: usize, every: usize) -> Vec<Self> {
        let mut all = Vec::new();
        let segments = scene.files.keys().filter(|name| segment_id(name).is_some());
        for name in segments.rev().take(count) {
            let len = scene.files[name].len();
            let file = name.clone();
            let flip = |bit| Self::Flip { file: file.clone(), bit };
            all.extend((0..len * 8).step_by(every).map(flip));
            all.extend((0..len).step_by(every).map(|len| Self::Cut { file: file.clone(), len }));
            for (len, apart) in ZEROED {
                let ranges = (0..scene.files[name].len()).step_by(apart);
                all.extend(ranges.map(|from| Self::Zero { file: file.clone(), from, len }));
            }
            all.push(Self::Missing { file: file.clone() });
            let others = scene.files.keys().filter(|other| *other != name);
            all.extend(others.map(|by| Self::Replaced { file: file.clone(), by: by.clone() }));
        }
        all.extend(added(scene));
        let spares = scene.files.keys().filter(|name| segment_id(name).is_none());
        all.extend(spares.map(|file| Self::Missing { file: file.clone() }));
        all
    }
}

/// Copies of segments under the numbers before the first and behind the last.
fn added(scene: &Scene) -> Vec<Harm> {
    let ids: Vec<u32> = scene.files.keys().filter_map(|name| segment_id(name)).collect();
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    let free = [first - 1, last + 1, last + 2];
    let copies = |new: u32| {
        let copy = move |id: &u32| Harm::Added { file: segment(new), copy_of: segment(*id) };
        ids.iter().map(copy).collect::<Vec<_>>()
    };
    free.into_iter().flat_map(copies).collect()
}
