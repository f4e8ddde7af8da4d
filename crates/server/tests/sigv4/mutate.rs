//! Ways to change a request on its way.

use fastrand::Rng;

use crate::request::Wire;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Method,
    Path,
    Query,
    HeaderName,
    HeaderValue,
    Headers,
    KeyId,
    Day,
    Region,
    Service,
    Terminator,
    SignedHeaders,
    Signature,
    Date,
    Body,
}

impl Field {
    pub(crate) const ALL: [Self; 15] = [
        Self::Method,
        Self::Path,
        Self::Query,
        Self::HeaderName,
        Self::HeaderValue,
        Self::Headers,
        Self::KeyId,
        Self::Day,
        Self::Region,
        Self::Service,
        Self::Terminator,
        Self::SignedHeaders,
        Self::Signature,
        Self::Date,
        Self::Body,
    ];
}

/// Headers that say something to some server, and nothing here unless they are signed.
const ADDED: [(&str, &str); 10] = [
    ("x-amz-target", "AmazonSQS.PurgeQueue"),
    ("x-amz-security-token", "token"),
    ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ("x-amz-date", "20261128T140000Z"),
    ("x-amz-more", "1"),
    ("content-type", "text/plain"),
    ("host", "elsewhere"),
    ("x-forwarded-host", "elsewhere"),
    ("x-http-method-override", "DELETE"),
    ("authorization", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0"),
];
/// What an attacker would like to be let in with.
const PARAMETERS: [&str; 6] = [
    "Action=PurgeQueue",
    "QueueUrl=/000000000000/other",
    "X-Amz-Signature=00",
    "X-Amz-Expires=604800",
    "X-Amz-Security-Token=token",
    "a",
];

/// One bit of it, of every byte that there is.
pub(crate) fn bits(wire: &Wire) -> impl Iterator<Item = Wire> + '_ {
    let pieces = 3 + 2 * wire.headers.len();
    let flipped = move |piece: usize, bit: usize| {
        let mut wire = wire.clone();
        *piece_of(&mut wire, piece).get_mut(bit / 8)? ^= 1 << (bit % 8);
        Some(wire)
    };
    (0..pieces).flat_map(move |piece| (0..).map_while(move |bit| flipped(piece, bit)))
}

fn piece_of(wire: &mut Wire, piece: usize) -> &mut Vec<u8> {
    match piece {
        0 => &mut wire.method,
        1 => &mut wire.place,
        2 => &mut wire.body,
        piece => {
            let (name, value) = &mut wire.headers[(piece - 3) / 2];
            if piece % 2 == 1 { name } else { value }
        }
    }
}

/// One field of it, in one way that `rng` chooses. What is of no use there leaves it as it is.
pub(crate) fn mutate(wire: &Wire, others: &[Wire], field: Field, rng: &mut Rng) -> Wire {
    let mut wire = wire.clone();
    let other = &others[rng.usize(..others.len())];
    match field {
        Field::Method => bytes(&mut wire.method, &other.method, rng),
        Field::Body => bytes(&mut wire.body, &other.body, rng),
        Field::Path => path(&mut wire.place, other, rng),
        Field::Query => query(&mut wire.place, rng),
        Field::Headers | Field::HeaderName | Field::HeaderValue if wire.headers.is_empty() => {}
        Field::Headers => headers(&mut wire, other, rng),
        Field::HeaderName => {
            let at = rng.usize(..wire.headers.len());
            let name = &other.headers[rng.usize(..other.headers.len())].0;
            bytes(&mut wire.headers[at].0, name, rng);
        }
        Field::HeaderValue => {
            let at = rng.usize(..wire.headers.len());
            let value = &other.headers[rng.usize(..other.headers.len())].1;
            bytes(&mut wire.headers[at].1, value, rng);
        }
        part => of_signature(&mut wire, other, part, rng),
    }
    wire
}

fn any(rng: &mut Rng) -> u8 {
    const TELLING: &[u8] = b" \t/.;,=&%+?#:*\0\r\n0aA~";
    if rng.bool() { TELLING[rng.usize(..TELLING.len())] } else { rng.u8(..) }
}

/// A change that can be made to anything.
fn bytes(text: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.usize(..=text.len());
    let here = at.min(text.len().saturating_sub(1));
    match rng.u8(..10) {
        0 if !text.is_empty() => text[here] ^= 1 << rng.u8(..8),
        1 if !text.is_empty() => text[here] = any(rng),
        2 if !text.is_empty() => drop(text.remove(here)),
        3 if !text.is_empty() => text[here] ^= 0x20,
        4 => text.insert(at, any(rng)),
        5 => text.truncate(at),
        6 => *text = other.to_vec(),
        7 => {
            let copied = text[at.min(text.len())..].to_vec();
            text.extend(copied);
        }
        8 if rng.bool() => text.make_ascii_uppercase(),
        8 => text.make_ascii_lowercase(),
        _ => text.insert(if rng.bool() { 0 } else { text.len() }, b' '),
    }
}

/// Where the query begins, or would.
fn cut(place: &[u8]) -> usize {
    place.iter().position(|byte| *byte == b'?').unwrap_or(place.len())
}

fn path(place: &mut Vec<u8>, other: &Wire, rng: &mut Rng) {
    let query = place.split_off(cut(place));
    let slashes: Vec<usize> = (0..place.len()).filter(|at| place[*at] == b'/').collect();
    let at = slashes.get(rng.usize(..slashes.len().max(1))).copied().unwrap_or(0);
    let mut insert = |text: &[u8]| drop(place.splice(at..at, text.iter().copied()));
    match rng.u8(..10) {
        8 => drop(place.splice(0..0, *b"http://127.0.0.1:9324")),
        9 => drop(place.splice(0..0, *b"http://127.0.0.1:9325")),
        0 => insert(b"/."),
        1 => insert(b"/x/.."),
        2 => insert(b"/"),
        3 => insert(b"/.."),
        4 => place.push(b'/'),
        5 => encode_one(place, rng),
        _ => bytes(place, &other.place[..cut(&other.place)], rng),
    }
    place.extend(query);
}

fn encode_one(text: &mut Vec<u8>, rng: &mut Rng) {
    if !text.is_empty() {
        let at = rng.usize(..text.len());
        let encoded = format!("%{:02X}", text[at]);
        text.splice(at..=at, encoded.bytes());
    }
}

fn query(place: &mut Vec<u8>, rng: &mut Rng) {
    let query = place.split_off(cut(place));
    let query = query.get(1..).unwrap_or_default();
    let mut parts: Vec<Vec<u8>> = query.split(|byte| *byte == b'&').map(<[u8]>::to_vec).collect();
    let (at, other) = (rng.usize(..parts.len()), rng.usize(..parts.len()));
    match rng.u8(..10) {
        0 => parts.swap(at, other),
        1 => parts.insert(other, parts[at].clone()),
        2 => drop(parts.remove(at)),
        3 => parts.insert(at, PARAMETERS[rng.usize(..PARAMETERS.len())].into()),
        4 => parts.insert(at, Vec::new()),
        5 | 6 => encode_one(&mut parts[at], rng),
        7 => {
            let text = String::from_utf8_lossy(&parts[at]).replace("%20", "+");
            parts[at] = text.replace("%2B", "+").into_bytes();
        }
        8 => parts[at].make_ascii_lowercase(),
        _ => {
            let copied = parts[other].clone();
            bytes(&mut parts[at], &copied, rng);
        }
    }
    place.push(b'?');
    place.extend(parts.join(&b'&'));
}

fn headers(wire: &mut Wire, other: &Wire, rng: &mut Rng) {
    let headers = &mut wire.headers;
    let (at, to) = (rng.usize(..headers.len()), rng.usize(..headers.len()));
    match rng.u8(..8) {
        0 => headers.swap(at, to),
        1 => headers.insert(to, headers[at].clone()),
        2 => drop(headers.remove(at)),
        3 => {
            let (name, value) = ADDED[rng.usize(..ADDED.len())];
            headers.insert(to, (name.into(), value.into()));
        }
        4 => {
            let (name, mut value) = headers[at].clone();
            bytes(&mut value, b"", rng);
            headers.insert(to, (name, value));
        }
        5 => {
            let moved = headers[to].1.clone();
            headers[at].1 = moved;
        }
        6 => {
            let name = &mut headers[at].0;
            if rng.bool() { name.make_ascii_uppercase() } else { name.make_ascii_lowercase() }
        }
        _ => headers.insert(to, other.headers[rng.usize(..other.headers.len())].clone()),
    }
}

/// A part of the signature, in the header or in the address.
fn of_signature(wire: &mut Wire, other: &Wire, part: Field, rng: &mut Rng) {
    let in_header = wire.header("authorization");
    let date = wire.header("x-amz-date");
    if let (Field::Date, Some(at)) = (part, date) {
        let moved = other.header("x-amz-date").map(|at| other.headers[at].1.clone());
        return bytes(&mut wire.headers[at].1, &moved.unwrap_or_default(), rng);
    }
    let (name, slash) = match part {
        Field::KeyId => ("Credential=", 0),
        Field::Day => ("Credential=", 1),
        Field::Region => ("Credential=", 2),
        Field::Service => ("Credential=", 3),
        Field::Terminator => ("Credential=", 4),
        Field::SignedHeaders => ("SignedHeaders=", 0),
        Field::Signature => ("Signature=", 0),
        _ => ("X-Amz-Date=", 0),
    };
    let (text, ends, between): (&mut Vec<u8>, &[u8], &[u8]) = match in_header {
        Some(at) => (&mut wire.headers[at].1, b", ", b"/"),
        None => (&mut wire.place, b"&", b"%2F"),
    };
    let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|it| it == what);
    let Some(start) = find(text, name.as_bytes()).map(|at| at + name.len()) else { return };
    let end = text[start..].iter().position(|byte| ends.contains(byte));
    let end = end.map_or(text.len(), |end| start + end);
    let (mut from, mut value) = (start, text[start..end].to_vec());
    for _ in 0..slash {
        let Some(at) = find(&value, between) else { return };
        from += at + between.len();
        value.drain(..at + between.len());
    }
    if let Some(at) = find(&value, between) {
        value.truncate(at);
    }
    let (until, others) = (from + value.len(), other_part(other, name));
    match (part, rng.u8(..4)) {
        (Field::KeyId, 0) => {
            let ids: [&[u8]; 3] = [b"AKIDEXAMPLE", b"111122223333", b"AKIDNOBODY"];
            value = ids[rng.usize(..ids.len())].to_vec();
        }
        (Field::SignedHeaders, 0) => {
            let mut names: Vec<&[u8]> = value.split(|byte| *byte == b';').collect();
            rng.shuffle(&mut names);
            names.truncate(rng.usize(1..=names.len()));
            value = names.join(&b';');
        }
        (Field::Signature, 0) => value = b"0".repeat(value.len()),
        _ => bytes(&mut value, &others, rng),
    }
    text.splice(from..until, value);
}

/// The same part of another request, as far as it is there.
fn other_part(other: &Wire, name: &str) -> Vec<u8> {
    let header = other.header("authorization").map(|at| other.headers[at].1.clone());
    let text = header.unwrap_or_else(|| other.place.clone());
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, value) = text.split_once(name).unwrap_or_default();
    value.split([',', '&']).next().unwrap_or_default().as_bytes().to_vec()
}
