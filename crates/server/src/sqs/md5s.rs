//! MD5s of many texts at once, as RFC 1321 has it. WHY: each step of it needs the one before, so one text leaves
//! most of the processor idle, and eight side by side take about as long as two.

use md5::{Digest, Md5};
use wide::u32x8;

/// An MD5.
pub(crate) type Md5Bytes = [u8; 16];

const BLOCK: usize = 64;
/// Bytes of the length behind a text.
const LENGTH_BYTES: usize = 8;
const LANES: usize = 8;
/// What a step of all lanes costs, in steps of one text.
const COST: usize = 2;

/// One number of each text.
type Lanes = u32x8;

const BEGIN: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// A number for each step (RFC 1321, 3.4: 2^32 times the sine of the step, without its sign).
#[rustfmt::skip]
const SINES: [[u32; 16]; 4] = [
    [0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
     0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821],
    [0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
     0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a],
    [0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
     0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665],
    [0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
     0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391],
];

/// The MD5 of each text, in order.
pub(crate) fn of_all(texts: &[&[u8]]) -> Vec<Md5Bytes> {
    let mut all = Vec::with_capacity(texts.len());
    for texts in texts.chunks(LANES) {
        let longest = texts.iter().map(|text| blocks(text)).max().unwrap_or(0);
        let together: usize = texts.iter().map(|text| blocks(text)).sum();
        if together > COST * longest {
            all.extend(side_by_side(texts, longest).into_iter().take(texts.len()));
        } else {
            all.extend(texts.iter().map(|text| Md5Bytes::from(Md5::digest(text))));
        }
    }
    all
}

/// How many blocks a text has, with what is put behind it.
fn blocks(text: &[u8]) -> usize {
    (text.len() + LENGTH_BYTES) / BLOCK + 1
}

/// The MD5s of up to eight texts, of which the longest has so many blocks.
fn side_by_side(texts: &[&[u8]], longest: usize) -> [Md5Bytes; LANES] {
    let mut digests = [Md5Bytes::default(); LANES];
    let mut state = BEGIN.map(Lanes::splat);
    let mut block = [[0; BLOCK]; LANES];
    for n in 0..longest {
        for (into, text) in block.iter_mut().zip(texts) {
            read_block(into, text, n);
        }
        compress(&mut state, &block);
        for (lane, (digest, _)) in
            digests.iter_mut().zip(texts).enumerate().filter(|(_, (_, text))| blocks(text) == n + 1)
        {
            for (bytes, numbers) in digest.chunks_exact_mut(4).zip(&state) {
                let number = numbers.as_array().get(lane).copied().unwrap_or_default();
                bytes.copy_from_slice(&number.to_le_bytes());
            }
        }
    }
    digests
}

/// Block `n` of a text with what is put behind it: a bit, zeros, and its length in bits.
fn read_block(into: &mut [u8; BLOCK], text: &[u8], n: usize) {
    let rest = text.get(n * BLOCK..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk() {
        *into = *whole;
        return;
    }
    *into = [0; BLOCK];
    into.iter_mut().zip(rest).for_each(|(into, byte)| *into = *byte);
    if n * BLOCK <= text.len()
        && let Some(behind) = into.get_mut(rest.len())
    {
        *behind = 0x80;
    }
    if n + 1 == blocks(text)
        && let Some(length) = into.last_chunk_mut()
    {
        *length = (8 * text.len() as u64).to_le_bytes();
    }
}

/// Takes one block of each text in.
fn compress(state: &mut [Lanes; 4], block: &[[u8; BLOCK]; LANES]) {
    let word = |n: usize| {
        let of = |lane: &[u8; BLOCK]| {
            let bytes = lane.get(4 * n..).and_then(<[u8]>::first_chunk);
            bytes.copied().map_or(0, u32::from_le_bytes)
        };
        Lanes::new(std::array::from_fn(|lane| block.get(lane).map_or(0, of)))
    };
    let words: [Lanes; 16] = std::array::from_fn(word);
    let [first, second, third, fourth] = &SINES;
    let new = round::<7, 12, 17, 22>(*state, first, &words, 1, 0, |x, y, z| z ^ (x & (y ^ z)));
    let new = round::<5, 9, 14, 20>(new, second, &words, 5, 1, |x, y, z| y ^ (z & (x ^ y)));
    let new = round::<4, 11, 16, 23>(new, third, &words, 3, 5, |x, y, z| x ^ y ^ z);
    let new = round::<6, 10, 15, 21>(new, fourth, &words, 7, 0, |x, y, z| y ^ (x | !z));
    for (state, new) in state.iter_mut().zip(new) {
        *state += new;
    }
}

/// Sixteen steps, which take the word `by * n + from` each and turn what they have by `A`, `B`, `C` or `D` bits.
#[inline(always)]
fn round<const A: i32, const B: i32, const C: i32, const D: i32>(
    [mut a, mut b, mut c, mut d]: [Lanes; 4],
    sines: &[u32; 16],
    words: &[Lanes; 16],
    by: usize,
    from: usize,
    mix: impl Fn(Lanes, Lanes, Lanes) -> Lanes,
) -> [Lanes; 4] {
    let turned = |sum: Lanes, bits: i32| (sum << bits) | (sum >> (32 - bits));
    let added = |n: usize| {
        let word = words.get((by * n + from) % 16).copied().unwrap_or_default();
        word + Lanes::splat(sines.get(n).copied().unwrap_or_default())
    };
    for n in [0, 4, 8, 12] {
        a = b + turned(a + mix(b, c, d) + added(n), A);
        d = a + turned(d + mix(a, b, c) + added(n + 1), B);
        c = d + turned(c + mix(d, a, b) + added(n + 2), C);
        b = c + turned(b + mix(c, d, a) + added(n + 3), D);
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_by_one(texts: &[&[u8]]) -> Vec<Md5Bytes> {
        texts.iter().map(|text| Md5::digest(text).into()).collect()
    }

    #[test]
    fn texts_of_every_length_have_their_digests_whatever_is_beside_them() {
        let bytes: Vec<u8> = (0..1_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
        for length in 0..300 {
            for count in [2, 3, 8, 9, 10, 17] {
                let text = |n: usize| &bytes[n..n + length + n % 3 * (length % 5)];
                let texts: Vec<&[u8]> = (0..count).map(text).collect();
                assert_eq!(of_all(&texts), one_by_one(&texts), "{count} of {length}");
            }
        }
    }

    #[test]
    fn none_one_and_one_that_is_much_longer_than_the_others_have_theirs() {
        let long = vec![b'x'; 5_000];
        let cases: [&[&[u8]]; 4] = [&[], &[b"a"], &[&long, b"", b"b"], &[b"c", b"d", &long, b"e"]];
        for texts in cases {
            assert_eq!(of_all(texts), one_by_one(texts));
        }
    }

    #[test]
    fn lanes_that_end_early_keep_their_digests_however_long_others_go_on() {
        let bytes = vec![b'y'; 1_000];
        let texts: Vec<&[u8]> = (0..8).map(|n| &bytes[..n * 140]).collect();
        let longest = texts.iter().map(|text| blocks(text)).max().unwrap();
        assert_eq!(side_by_side(&texts, longest)[..], one_by_one(&texts)[..]);
    }
}
