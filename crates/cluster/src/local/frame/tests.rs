use super::*;
use crate::local::fixture::{check_golden, check_page};
use proptest::prelude::*;

const LAYOUT: [(&str, usize, usize); 6] = [
    ("kind", 0, 1),
    ("version", 1, 1),
    ("zero", 2, 2),
    ("body_bytes", 4, 4),
    ("body_checksum", 8, 4),
    ("header_checksum", 12, 4),
];

fn any_frame() -> impl Strategy<Value = Frame> {
    let position = (any::<u64>(), any::<u64>(), any::<u32>())
        .prop_map(|(index, offset, chain)| Position { index, offset, chain });
    let token = (any::<u64>(), any::<u64>()).prop_map(|(life, sequence)| Token { life, sequence });
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        any::<u128>().prop_map(|session| Frame::Hello { session }),
        (token.clone(), payload)
            .prop_map(|(token, payload)| Frame::Append { token, payload: Arc::from(payload) }),
        (position.clone(), token).prop_map(|(durable, last)| Frame::Welcome { durable, last }),
        position.prop_map(|durable| Frame::Durable { durable }),
        any::<u64>().prop_map(|sent_ns| Frame::Alive { sent_ns }),
        any::<u64>().prop_map(|sent_ns| Frame::Heard { sent_ns }),
        Just(Frame::Refused(Refusal::NoSession)),
        Just(Frame::Refused(Refusal::Version)),
    ]
}

proptest! {
    #[test]
    fn frames_are_read_back_one_after_the_other(first in any_frame(), second in any_frame()) {
        let mut bytes = first.encode();
        let length = bytes.len();
        bytes.extend(second.encode());
        prop_assert_eq!(Frame::decode(&bytes, REQUEST_BYTES_MAX), Ok(Some((first, length))));
        let rest = Frame::decode(&bytes[length..], REQUEST_BYTES_MAX);
        prop_assert_eq!(rest, Ok(Some((second, bytes.len() - length))));
    }

    #[test]
    fn a_cut_frame_waits_for_more(frame in any_frame(), cut: prop::sample::Index) {
        let bytes = frame.encode();
        let cut = cut.index(bytes.len());
        prop_assert_eq!(Frame::decode(&bytes[..cut], REQUEST_BYTES_MAX), Ok(None));
    }

    #[test]
    fn a_flipped_bit_is_refused(frame in any_frame(), bit: prop::sample::Index) {
        let mut bytes = frame.encode();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Frame::decode(&bytes, REQUEST_BYTES_MAX).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        let _ = Frame::decode(&bytes, REQUEST_BYTES_MAX);
    }
}

#[test]
fn a_long_frame_is_refused_by_its_header() {
    let payload = Arc::from(vec![0; NOTICE_BYTES_MAX]);
    let bytes = Frame::Append { token: Token::default(), payload }.encode();
    let refused = Frame::decode(&bytes[..HEADER_BYTES], NOTICE_BYTES_MAX);
    assert_eq!(refused, Err(WireError::Invalid("frame length"))); // M1
}

#[tokio::test(flavor = "current_thread")]
async fn a_claimed_length_takes_no_memory() {
    let frame = Frame::Append { token: Token::default(), payload: Arc::from(vec![0; 1 << 20]) };
    let claim = &frame.encode()[..HEADER_BYTES + 10];
    let mut reader = FrameReader::new(claim, REQUEST_BYTES_MAX);
    assert!(reader.next().await.unwrap().is_none());
    assert!(reader.held.capacity() <= 2 * READ_BYTES); // M2
}

#[tokio::test(flavor = "current_thread")]
async fn frames_that_arrive_in_pieces_are_put_together() {
    let frames: Vec<Frame> = (0..200_u64)
        .map(|index| Frame::Durable { durable: Position { index, offset: index * 8, chain: 1 } })
        .collect();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    let (mut sender, receiver) = tokio::io::duplex(7);
    let send = async move { tokio::io::AsyncWriteExt::write_all(&mut sender, &bytes).await };
    let receive = async move {
        let mut reader = FrameReader::new(receiver, NOTICE_BYTES_MAX);
        let mut received = Vec::new();
        while let Some(frame) = reader.next().await.unwrap() {
            received.push(frame);
        }
        received
    };
    let (sent, received) = tokio::join!(send, receive);
    sent.unwrap();
    assert_eq!(received, frames);
}

#[test]
fn the_bytes_on_the_socket_do_not_change() {
    let durable = Position { index: 3, offset: 0x140, chain: 0xa1b2_c3d4 };
    let last = Token { life: 2, sequence: 9 };
    let frames = [
        Frame::Hello { session: 0x0123_4567_89ab_cdef_0011_2233_4455_6677 },
        Frame::Welcome { durable, last },
        Frame::Append { token: Token { life: 3, sequence: 1 }, payload: Arc::from(*b"entry") },
        Frame::Durable { durable },
        Frame::Refused(Refusal::NoSession),
        Frame::Refused(Refusal::Version),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    check_golden("frames", &bytes);
    check_page("Frame header", &LAYOUT, HEADER_BYTES);
}
