//! The bytes of every message, as they were first written: what they mean cannot change.
//!
//! `messages.txt` has a line for each: its name, and its bytes in hexadecimal digits. A line that is
//! there stays as it is, because clients and servers of other versions read and write it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use samples::{Sample, all};
use tidegate_remote::proto::DESCRIPTORS;

const GOLDEN: &str = include_str!("messages.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, half) = text.as_bytes().as_chunks::<2>();
    assert!(half.is_empty(), "{text:?} has half a byte");
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// The lines of the file: names and bytes.
fn golden() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.split_once(' ').unwrap_or((line, "")));
    let read: Vec<_> = lines.map(|(name, bytes)| (name, unhex(bytes))).collect();
    let count = read.len();
    let golden = BTreeMap::from_iter(read);
    assert_eq!(golden.len(), count, "messages.txt has a name twice");
    golden
}

fn line(sample: &Sample) -> String {
    format!("{} {}", sample.name, hex(&sample.bytes)).trim_end().into()
}

#[test]
fn every_message_is_written_as_it_always_was() {
    let golden = golden();
    let samples = all();
    let is_new = |sample: &&Sample| !golden.contains_key(&*sample.name);
    let new: Vec<String> = samples.iter().filter(is_new).map(line).collect();
    assert!(new.is_empty(), "add to tests/messages.txt what is new:\n{}", new.join("\n"));
    for sample in &samples {
        let (is, was) = (hex(&sample.bytes), hex(&golden[&*sample.name]));
        assert_eq!(is, was, "{} is written otherwise than before", sample.name);
    }
    let names: BTreeSet<&str> = samples.iter().map(|sample| &*sample.name).collect();
    let gone: Vec<_> = golden.keys().filter(|name| !names.contains(*name)).collect();
    assert!(gone.is_empty(), "no message is made for {gone:?}; lines of messages.txt stay");
}

#[test]
fn every_message_is_read_as_it_always_was() {
    let golden = golden();
    for sample in all() {
        let bytes = golden.get(&*sample.name).map(Vec::as_slice).unwrap_or_default();
        assert!((sample.reads)(bytes), "{} is read otherwise than before", sample.name);
    }
}

#[test]
fn every_message_field_and_value_has_a_line() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let file = files.into_iter().find(|file| file.package() == "tidegate.v1").unwrap();
    let mut seen = Seen::default();
    for (name, bytes) in golden() {
        let name = name.split('.').next().unwrap();
        let found = file.message_type.iter().find(|message| message.name() == name);
        let message = found.unwrap_or_else(|| panic!("{name} is no message of the protocol"));
        seen.read(message, &bytes);
    }
    let mut missing = Vec::new();
    for message in &file.message_type {
        let name = message.name();
        if !seen.messages.contains(name) {
            missing.push(name.to_owned());
        }
        let numbers = message
            .field
            .iter()
            .filter(|field| !seen.fields.contains(&(name.to_owned(), field.number())));
        missing.extend(numbers.map(|field| format!("{name}.{}", field.name())));
    }
    for kind in &file.enum_type {
        let values = kind.value.iter();
        let values =
            values.filter(|value| !seen.values.contains(&(kind.name().into(), value.number())));
        missing.extend(values.map(|value| value.name().to_owned()));
    }
    assert!(missing.is_empty(), "tests/samples sets none of {missing:?}; make a sample of each");
}

/// What the lines have in them, at their first level: a message inside has lines of its own.
#[derive(Default)]
struct Seen {
    messages: BTreeSet<String>,
    fields: BTreeSet<(String, i32)>,
    /// Enums and numbers. A field of an enum that is not written is its zero.
    values: BTreeSet<(String, i32)>,
}

impl Seen {
    fn read(&mut self, message: &DescriptorProto, mut bytes: &[u8]) {
        let mut written = BTreeMap::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => vec![varint(&mut bytes)],
                1 => fixed(&mut bytes),
                2 => numbers(&mut bytes),
                kind => panic!("{} has a field of wire type {kind}", message.name()),
            };
            let number = i32::try_from(tag >> 3).unwrap();
            written.entry(number).or_insert_with(Vec::new).extend(value);
        }
        self.messages.insert(message.name().into());
        self.fields.extend(written.keys().map(|number| (message.name().to_owned(), *number)));
        for field in message.field.iter().filter(|field| field.r#type() == Type::Enum) {
            let kind = field.type_name().rsplit('.').next().unwrap();
            let values = written.remove(&field.number()).unwrap_or_else(|| vec![0]);
            let values = values.into_iter().map(|value| i32::try_from(value).unwrap());
            self.values.extend(values.map(|value| (kind.to_owned(), value)));
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    prost::encoding::decode_varint(bytes).unwrap()
}

fn fixed(bytes: &mut &[u8]) -> Vec<u64> {
    *bytes = bytes.get(8..).unwrap();
    Vec::new()
}

/// What a packed list of numbers holds. Of texts and messages the numbers mean nothing, and nobody
/// looks at them.
fn numbers(bytes: &mut &[u8]) -> Vec<u64> {
    let len = usize::try_from(varint(bytes)).unwrap();
    let (mut content, rest) = bytes.split_at(len);
    *bytes = rest;
    let next = |_| prost::encoding::decode_varint(&mut content).ok();
    (0..len).map_while(next).collect()
}
