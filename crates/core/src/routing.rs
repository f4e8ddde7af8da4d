//! Which partition a task belongs to.

use serde::{Deserialize, Serialize};

use crate::limits::PARTITIONS_MAX;

/// How many partitions a queue has: 1 to 1,024. Zero is an error when it is made, so that routing
/// cannot divide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Partitions(u32);

impl Partitions {
    /// One partition: what a queue has unless it asks for more.
    pub const ONE: Self = Self(1);

    /// Checks `count`.
    pub fn new(count: u32) -> Result<Self, String> {
        match count {
            0 => Err("a queue needs at least 1 partition, not 0".into()),
            1..=PARTITIONS_MAX => Ok(Self(count)),
            _ => Err(format!("{count} partitions are too many; at most {PARTITIONS_MAX} fit")),
        }
    }

    /// The count, never zero.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Partitions {
    type Error = String;

    fn try_from(count: u32) -> Result<Self, String> {
        Self::new(count)
    }
}

impl From<Partitions> for u32 {
    fn from(partitions: Partitions) -> Self {
        partitions.0
    }
}

/// How a key becomes a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Router {
    /// FNV-1a 32 of the key, modulo the partitions: equal byte for byte to Go's `hash/fnv`.
    #[default]
    Hash,
    /// Rendezvous hashing: a new partition takes about 1/n of the keys and no other key moves.
    Consistent,
    /// The turn decides, the key does not.
    RoundRobin,
}

impl Router {
    /// The partition, from 0, of a task with `key`. `turn` is the number of the task; it decides
    /// for round robin and for tasks without a key.
    pub fn route(self, key: Option<&str>, turn: u64, partitions: Partitions) -> u32 {
        match (self, key) {
            (Self::Hash, Some(key)) => hash(key.as_bytes(), partitions),
            (Self::Consistent, Some(key)) => consistent(key.as_bytes(), partitions),
            (Self::RoundRobin, _) | (_, None) => (turn % u64::from(partitions.get())) as u32,
        }
    }
}

/// FNV-1a, 32 bits. Offset basis and prime from
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
pub fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn hash(key: &[u8], partitions: Partitions) -> u32 {
    fnv1a_32(key) % partitions.get()
}

/// The partition with the highest weight for this key (rendezvous, or highest random weight,
/// hashing: Thaler and Ravishankar, 1998).
fn consistent(key: &[u8], partitions: Partitions) -> u32 {
    let seed = fnv1a_64(key);
    (0..partitions.get())
        .max_by_key(|partition| mix(seed ^ mix(u64::from(*partition))))
        .unwrap_or(0)
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The finalizer of SplitMix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Go's `hash/fnv`: `h := fnv.New32a(); h.Write([]byte(key)); h.Sum32()`.
    const GO_VECTORS: &[(&str, u32)] = include!("routing_vectors.in");

    #[test]
    fn the_hash_equals_go() {
        for (key, sum) in GO_VECTORS {
            assert_eq!(fnv1a_32(key.as_bytes()), *sum, "{key:?}");
        }
        assert!(GO_VECTORS.len() >= 10);
    }

    #[test]
    fn a_key_always_has_the_same_partition() {
        let partitions = Partitions::new(7).unwrap();
        for router in [Router::Hash, Router::Consistent] {
            assert_eq!(
                router.route(Some("N14228"), 1, partitions),
                router.route(Some("N14228"), 2, partitions)
            );
        }
    }

    #[test]
    fn without_a_key_partitions_take_turns() {
        let partitions = Partitions::new(3).unwrap();
        let turns: Vec<u32> = (0..6).map(|n| Router::Hash.route(None, n, partitions)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        assert_eq!(Router::RoundRobin.route(Some("any"), 4, partitions), 1);
    }

    #[test]
    fn a_new_partition_moves_about_one_key_in_n_and_only_to_itself() {
        let (before, after) = (Partitions::new(9).unwrap(), Partitions::new(10).unwrap());
        let keys: Vec<String> = (0..20_000).map(|n| format!("key-{n}")).collect();
        let moved: Vec<u32> = keys
            .iter()
            .map(|key| {
                (
                    Router::Consistent.route(Some(key), 0, before),
                    Router::Consistent.route(Some(key), 0, after),
                )
            })
            .filter(|(old, new)| old != new)
            .map(|(_, new)| new)
            .collect();
        assert!(moved.iter().all(|new| *new == 9));
        assert!((1_700..2_300).contains(&moved.len()), "{} of 20,000 moved", moved.len());
    }

    #[test]
    fn every_partition_is_used_about_equally() {
        let partitions = Partitions::new(8).unwrap();
        for router in [Router::Hash, Router::Consistent] {
            let mut counts = [0_u32; 8];
            for n in 0..16_000 {
                counts[router.route(Some(&format!("key-{n}")), 0, partitions) as usize] += 1;
            }
            assert!(
                counts.iter().all(|count| (1_600..2_400).contains(count)),
                "{router:?} {counts:?}"
            );
        }
    }

    #[test]
    fn zero_partitions_is_an_error() {
        assert!(Partitions::new(0).unwrap_err().contains("at least 1"));
        assert!(Partitions::new(1_025).is_err());
        assert_eq!(Partitions::new(1_024).unwrap().get(), 1_024);
    }
}
