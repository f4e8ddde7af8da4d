//! What a request means, by the rules of Signature Version 4, written apart from the server's: two
//! requests that mean the same may both be let in.

use std::collections::{BTreeMap, BTreeSet};

use crate::request::{Wire, trimmed};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything that counts.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    method: Vec<u8>,
    path: Vec<u8>,
    query: Pairs,
    headers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The parts of the header that has the signature.
    authorization: BTreeSet<Vec<u8>>,
    body: Vec<u8>,
}

/// In which harmless ways two requests differ that mean the same; nothing if they do not.
pub(crate) fn harmless(one: &Wire, other: &Wire) -> Option<Vec<&'static str>> {
    if meaning(one) != meaning(other) {
        return None;
    }
    let counts = |wire: &Wire| -> Pairs {
        let all = wire.headers.iter().filter(|(name, value)| matters(wire, name, value));
        all.cloned().collect()
    };
    let names = |wire: &Wire| wire.headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let lower = |wire: &Wire| -> Vec<Vec<u8>> {
        names(wire).iter().map(|name| name.to_ascii_lowercase()).collect()
    };
    let sorted = |wire: &Wire| {
        let mut headers = counts(wire);
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        headers.sort();
        headers
    };
    let rest = |wire: &Wire| -> Pairs {
        let all = wire.headers.iter().filter(|(name, value)| !matters(wire, name, value));
        all.cloned().collect()
    };
    let ways = [
        ("a header that says nothing and is not signed", rest(one) != rest(other)),
        ("order of headers", rest(one) == rest(other) && lower(one) != lower(other)),
        ("case of a header's name", lower(one) == lower(other) && names(one) != names(other)),
        ("blanks in a header, order in Authorization", sorted(one) != sorted(other)),
        ("dots and slashes of the path", place(one).0 != place(other).0),
        ("order and encoding of the query", place(one).1 != place(other).1),
        ("the server's address before the path", is_full(one) != is_full(other)),
        ("what stands behind #", place(one).2 != place(other).2),
    ];
    Some(ways.into_iter().filter(|(_, differs)| *differs).map(|(way, _)| way).collect())
}

fn is_full(wire: &Wire) -> bool {
    local(wire).len() != wire.place.len()
}

/// Path and query, without the server's own address before them.
fn local(wire: &Wire) -> &[u8] {
    let host = wire.header("host").map(|at| trimmed(&wire.headers[at].1)).unwrap_or_default();
    let place = wire.place.as_slice();
    if place.starts_with(b"/") {
        return place;
    }
    let rest = place.strip_prefix(b"http://").unwrap_or(place);
    let rest = rest.strip_prefix(host).filter(|_| !host.is_empty());
    rest.filter(|rest| matches!(rest.first(), None | Some(b'/' | b'?' | b'#'))).unwrap_or(place)
}

/// Path, query with its `?`, and what is behind a `#`, which no server reads.
fn place(wire: &Wire) -> (&[u8], &[u8], &[u8]) {
    let cut = |text: &'static u8, bytes: &'_ [u8]| bytes.iter().position(|byte| byte == text);
    let all = local(wire);
    let (rest, behind) = all.split_at(cut(&b'#', all).unwrap_or(all.len()));
    let (path, query) = rest.split_at(cut(&b'?', rest).unwrap_or(rest.len()));
    (path, query, behind)
}

fn meaning(wire: &Wire) -> Meaning {
    let (path, query, _) = place(wire);
    let mut headers: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut authorization = BTreeSet::new();
    for (name, value) in wire.headers.iter().filter(|(name, value)| matters(wire, name, value)) {
        let name = name.to_ascii_lowercase();
        if name == b"authorization" {
            let value = trimmed(value);
            let (algorithm, parts) =
                value.split_at(value.iter().position(|b| *b == b' ').unwrap_or(0));
            let parts = parts.split(|byte| *byte == b',').map(|part| trimmed(part).to_vec());
            // WHY: a second one of these never means the same.
            let count = headers.len().to_string().into_bytes();
            authorization.extend(parts.chain([algorithm.to_vec()]));
            if wire.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(&name)).count() > 1 {
                authorization.insert(count);
            }
            continue;
        }
        let words =
            value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let value = words.collect::<Vec<_>>().join(&b' ');
        let entry = headers.entry(name);
        entry.and_modify(|all| all.extend([b",", value.as_slice()].concat())).or_insert(value);
    }
    let (method, body) = (wire.method.clone(), wire.body.clone());
    Meaning { method, path: normal(path), query: pairs(query), headers, authorization, body }
}

/// Whether a header can change what a server does, or is signed.
fn matters(wire: &Wire, name: &[u8], value: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let is_form = value.starts_with(b"application/x-www-form-urlencoded");
    name.starts_with(b"x-amz-")
        || [b"host".as_slice(), b"authorization"].contains(&name.as_slice())
        || name == b"content-type" && !is_form
        || signed(wire).contains(&name)
}

/// The names that are signed.
fn signed(wire: &Wire) -> Vec<Vec<u8>> {
    let header = wire.header("authorization").map(|at| wire.headers[at].1.clone());
    let in_header = header.and_then(|header| {
        let text = String::from_utf8_lossy(&header).into_owned();
        let (_, names) = text.split_once("SignedHeaders=")?;
        names.split(',').next().map(|names| names.trim().to_owned().into_bytes())
    });
    let in_query = || {
        let named = |(name, _): &(Vec<u8>, Vec<u8>)| name == b"X-Amz-SignedHeaders";
        pairs(place(wire).1).into_iter().find(named).map(|(_, names)| names)
    };
    let names = in_header.or_else(in_query).unwrap_or_default();
    names.split(|byte| *byte == b';').map(<[u8]>::to_vec).collect()
}

fn normal(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let mut text: Vec<u8> = kept.iter().flat_map(|part| [b"/", *part].concat()).collect();
    if path.ends_with(b"/") || kept.is_empty() {
        text.push(b'/');
    }
    text
}

fn pairs(query: &[u8]) -> Pairs {
    let query = query.get(1..).unwrap_or_default();
    let parts = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    let mut pairs: Pairs = parts
        .map(|part| {
            let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
            (decoded(&part[..at]), decoded(part.get(at + 1..).unwrap_or_default()))
        })
        .collect();
    pairs.sort();
    pairs
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
        at += 1;
    }
    bytes
}
