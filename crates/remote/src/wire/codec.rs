//! Messages as bytes. Lists that would take many times their bytes once they are read are refused before.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{Message, Name};
use tidegate_core::limits::BATCH_TASKS_MAX;
use tonic::Status;
use tonic::codec::{Codec as TonicCodec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Most elements of a list that is read at all. An element of two bytes can take some hundred in memory. WHY: ten
/// times what any broker takes at once, so that a batch that is too long is told so by the service, which goes on.
const ELEMENTS_MAX: usize = 10 * BATCH_TASKS_MAX;

/// Where lists of messages are in what clients send: the numbers of the fields that lead to them.
fn lists(message: &str) -> &'static [&'static [u32]] {
    match message {
        "EnqueueRequest" => &[&[3]],
        "WorkRequest" => &[&[6, 1], &[7, 1]],
        "SettleAndEnqueueRequest" => &[&[4]],
        _ => &[],
    }
}

/// How often the path occurs. What cannot be read is left to the one who reads it.
fn count(mut bytes: &[u8], path: &[u32]) -> usize {
    let Some((first, rest)) = path.split_first() else { return 1 };
    let mut found = 0;
    while bytes.has_remaining() {
        let Ok((number, kind)) = decode_key(&mut bytes) else { break };
        if number != *first || kind != WireType::LengthDelimited {
            // WHY: as the reader skips what it does not know, groups included, or something before the list would
            // hide it.
            match skip_field(kind, number, &mut bytes, DecodeContext::default()) {
                Ok(()) => continue,
                Err(_) => break,
            }
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| length.try_into().ok());
        let Some((value, later)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            break;
        };
        bytes = later;
        found += count(value, rest);
    }
    found
}

/// How messages of one call go out and come in.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::new().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Bounded(ProstCodec::<T, U>::new().decoder())
    }
}

/// Reads messages whose lists are not too long.
#[derive(Debug)]
pub(crate) struct Bounded<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // INVARIANT: a message lies in one piece.
        debug_assert_eq!(bytes.chunk().len(), bytes.remaining());
        for path in lists(U::NAME) {
            let elements = count(bytes.chunk(), path);
            if elements > ELEMENTS_MAX {
                let why = format!(
                    "a list has {elements} elements, and {BATCH_TASKS_MAX} fit one request"
                );
                return Err(Status::invalid_argument(why));
            }
        }
        self.0.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto;

    fn elements<M: Message + Name>(message: &M) -> usize {
        let bytes = message.encode_to_vec();
        lists(M::NAME).iter().map(|path| count(&bytes, path)).sum()
    }

    #[test]
    fn the_elements_of_every_list_are_counted() {
        let task = || proto::NewTask {
            kind: "k".into(),
            payload: vec![7; 300].into(),
            ..Default::default()
        };
        let tasks = vec![task(), proto::NewTask::default(), task()];
        let sent = proto::EnqueueRequest { id: 300, queue: "mail".into(), tasks };
        assert_eq!(elements(&sent), 3);
        let follow_ups = vec![proto::FollowUp::default(); 2];
        let step = proto::SettleAndEnqueueRequest { follow_ups, ..Default::default() };
        assert_eq!(elements(&step), 2);
        let decisions = vec![proto::Decision::default(); 4];
        let extensions = vec![proto::Extension { token: vec![1; 40].into(), duration_us: 1 }; 5];
        let settle = proto::work_request::Step::Settle(proto::Settle { decisions });
        let extend = proto::work_request::Step::Extend(proto::Extend { extensions });
        for (step, expected) in [(settle, 4), (extend, 5)] {
            let work = proto::WorkRequest { id: 1, session: 2, step: Some(step) };
            assert_eq!(elements(&work), expected);
        }
    }

    #[test]
    fn nothing_before_a_list_hides_it() {
        let two = proto::EnqueueRequest {
            id: 7,
            queue: "mail".into(),
            tasks: vec![proto::NewTask::default(); 2],
        };
        let list = two.encode_to_vec();
        // Fields that nobody knows: a group with a number in it, four and eight bytes, and a text.
        let unknown: [&[u8]; 4] = [
            &[0xa3, 0x06, 0x08, 0x01, 0xa4, 0x06],
            &[0xad, 0x06, 1, 2, 3, 4],
            &[0xb1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xba, 0x06, 2, 0x1a, 0],
        ];
        for before in unknown {
            let bytes = [before, &list].concat();
            assert_eq!(proto::EnqueueRequest::decode(&*bytes).as_ref(), Ok(&two));
            assert_eq!(count(&bytes, &[3]), 2, "{before:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_counted_as_far_as_it_goes() {
        let two = proto::EnqueueRequest {
            tasks: vec![proto::NewTask::default(); 2],
            ..Default::default()
        };
        let mut bytes = two.encode_to_vec();
        bytes.extend([0x1a, 200]);
        assert_eq!(count(&bytes, &[3]), 2);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(count(&bytes, &[3]), 2);
    }
}
