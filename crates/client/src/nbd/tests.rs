use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(30), future).await.expect("it hangs")
    })
}

/// Lets requests wait, gives `bytes` to the reader, and returns what each request got.
fn answers(bytes: &[u8], expect: &[(u64, Expect)]) -> Vec<Result<Answer, NbdError>> {
    block_on(async {
        let waiting = Arc::new(Waiting::default());
        let receivers: Vec<_> =
            expect.iter().map(|(cookie, expect)| waiting.add(*cookie, *expect).unwrap()).collect();
        reply::read_all(bytes, waiting.clone()).await;
        assert!(matches!(waiting.add(99, READ_8), Err(NbdError::Closed))); // C2
        let mut answers = Vec::new();
        for receiver in receivers {
            answers.push(receiver.await.expect("everyone is told"));
        }
        answers
    })
}

const READ_8: Expect = Expect { offset: 4096, len: 8, structured: true };

fn chunk(flags: u16, kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = 0x668e_33ef_u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn data(flags: u16, offset: u64, bytes: &[u8]) -> Vec<u8> {
    chunk(flags, 1, 1, &[&offset.to_be_bytes()[..], bytes].concat())
}

#[test]
fn chunks_in_any_order_are_put_together() {
    let hole = [&4096_u64.to_be_bytes()[..], &2_u32.to_be_bytes()].concat();
    let bytes = [data(0, 4100, b"efgh"), chunk(0, 2, 1, &hole), data(1, 4098, b"cd")].concat();
    let got = answers(&bytes, &[(1, READ_8)]).remove(0).unwrap();
    assert_eq!(got.bytes, b"\0\0cdefgh");
}

#[test]
fn a_broken_answer_is_an_error_and_never_data() {
    let broken = [
        data(1, 4096, b"abcdefg"),
        data(1, 4095, b"abcdefgh"),
        data(1, 4097, b"abcdefgh"),
        data(1, u64::MAX, b"a"),
        data(1, 4096, b""),
        chunk(1, 1, 1, b"abc"),
        chunk(1, 7, 1, b""),
        chunk(1, 0, 1, b"x"),
        chunk(1, 1 << 15 | 1, 1, b"\0\0\0"),
        chunk(1, 0, 2, b""),
        [b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x01", &b"abcdefgh"[..]].concat(),
        b"\x66\x8e\x33\xef\0\x01\0\x01\0\0\0\0\0\0\0\x01\xff\xff\xff\xff".to_vec(),
        b"\x12\x34\x56\x78".to_vec(),
        Vec::new(),
    ];
    for bytes in broken {
        assert!(answers(&bytes, &[(1, READ_8)]).remove(0).is_err(), "{bytes:?}");
    }
    let fault = [&28_u32.to_be_bytes()[..], &2_u16.to_be_bytes(), b"no"].concat();
    match answers(&chunk(1, 1 << 15 | 1, 1, &fault), &[(1, READ_8)]).remove(0) {
        Err(NbdError::Failed { errno: 28, text }) => assert_eq!(text, "no"),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_bytes_of_a_server_end_in_an_answer_or_an_error(
        magic in prop_oneof![Just(0x668e_33ef_u32), Just(0x6744_6698), any::<u32>()],
        kind in prop_oneof![0..8_u16, Just(0x8001), any::<u16>()],
        cookie in 0..3_u64,
        len in prop_oneof![0..40_u32, any::<u32>()],
        tail in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = magic.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&tail);
        let simple = Expect { structured: false, ..READ_8 };
        for answer in answers(&bytes, &[(1, READ_8), (2, simple)]).into_iter().flatten() {
            prop_assert_eq!(answer.bytes.len(), 8);
        }
    }

    #[test]
    fn any_greeting_of_a_server_ends_in_an_export_or_an_error(
        break_at in 0..200_usize,
        flip in 1..255_u8,
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut bytes = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
        let reply = |option: u32, kind: u32, data: &[u8]| {
            let len = (data.len() as u32).to_be_bytes();
            let magic = 0x3_e889_0455_65a9_u64.to_be_bytes();
            [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &len, data].concat()
        };
        bytes.extend(reply(8, 1, &[]));
        bytes.extend(reply(10, 4, b"\0\0\0\x01base:allocation"));
        bytes.extend(reply(10, 1, &[]));
        bytes.extend(reply(7, 3, b"\0\0\0\0\0\0\0\0\x10\0\x01\x6d"));
        bytes.extend(reply(7, 1, &[]));
        if let Some(byte) = bytes.get_mut(break_at) {
            *byte ^= flip;
        }
        bytes.extend_from_slice(&tail);
        block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            let server = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                // The client may have given up.
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
                let mut sent = Vec::new();
                let _ = socket.read_to_end(&mut sent).await;
            };
            let endpoint = Endpoint::unix(&path);
            let client = async {
                let _ended = Connection::open(&endpoint, "a", Options::default()).await;
            };
            tokio::join!(server, client);
        });
    }
}
