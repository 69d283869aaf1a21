//! From the greeting to the open export.

use sheepdog_client::nbd::{info, list};

use super::*;

const ACK: u32 = 1;
const UNSUP: u32 = (1 << 31) + 1;
const INVALID: u32 = (1 << 31) + 3;
const UNKNOWN: u32 = (1 << 31) + 6;
const TOO_BIG: u32 = (1 << 31) + 9;

async fn greeted(sheep: &Sheep) -> UnixStream {
    let mut socket = sheep.raw().await;
    let mut greeting = [0; 18];
    socket.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
    socket.write_all(&3_u32.to_be_bytes()).await.unwrap();
    socket
}

async fn reply(socket: &mut UnixStream, option: u32) -> (u32, Vec<u8>) {
    assert_eq!(socket.read_u64().await.unwrap(), 0x3_e889_0455_65a9);
    assert_eq!(socket.read_u32().await.unwrap(), option);
    let kind = socket.read_u32().await.unwrap();
    let mut data = vec![0; socket.read_u32().await.unwrap() as usize];
    socket.read_exact(&mut data).await.unwrap();
    (kind, data)
}

async fn ask(socket: &mut UnixStream, number: u32, data: &[u8]) -> (u32, Vec<u8>) {
    socket.write_all(&option(number, data)).await.unwrap();
    reply(socket, number).await
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn working_vdis_are_listed_by_name_and_described_without_opening_them() {
    run(async {
        let sheep = Sheep::start(1).await;
        let vid = sheep.cluster.create("zebra", 5000, None);
        sheep.cluster.create("ant \u{e4}", 0, Some(20));
        for endpoint in [&sheep.unix, &sheep.tcp] {
            assert_eq!(list(endpoint).await.unwrap(), ["ant \u{e4}", "zebra"]);
            let export = info(endpoint, "zebra").await.unwrap();
            assert_eq!(export.size, 5000);
            assert_eq!(export.block_bytes, Some([1, 4096, 32 << 20]));
            assert_eq!(export.name.as_deref(), Some("zebra"));
            assert!(export.description.unwrap().contains("4 MiB objects"));
        }
        assert!(!sheep.cluster.is_attached(vid)); // G2
        assert!(sheep.cluster.openers().holder(vid).is_none());
    });
}

#[test]
fn a_list_of_thousands_arrives_whole() {
    run(async {
        let sheep = Sheep::start(1).await;
        let name = |n: u32| format!("{n:04}-{}", "x".repeat(90));
        let names: Vec<String> = (0..2000).map(name).collect();
        for name in names.iter().rev() {
            sheep.cluster.create(name, 1, None);
        }
        assert_eq!(list(&sheep.unix).await.unwrap(), names);
    });
}

#[test]
fn an_unknown_vdi_is_said_to_be_unknown() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        for name in ["", "b", "A", "a ", "a@1"] {
            let (code, text) = refused(&sheep.unix, name).await;
            assert_eq!(code, UNKNOWN, "{name}: {text}");
            assert!(matches!(info(&sheep.unix, name).await, Err(NbdError::Refused { .. })));
        }
        // No UTF-8 is no name.
        let mut socket = greeted(&sheep).await;
        let data = [&2_u32.to_be_bytes()[..], b"\xff\xfe\0\0"].concat();
        assert_eq!(ask(&mut socket, 7, &data).await.0, UNKNOWN);
    });
}

#[test]
fn options_that_are_not_served_are_refused_and_the_client_goes_on() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        let mut socket = greeted(&sheep).await;
        // STARTTLS, extended headers, peek, zero, and what nobody has defined.
        for number in [5, 11, 4, 0, 12, 99, u32::MAX] {
            assert_eq!(ask(&mut socket, number, &[]).await.0, UNSUP, "{number}");
            assert_eq!(ask(&mut socket, number, &[7; 1000]).await.0, UNSUP, "{number}");
        }
        assert_eq!(ask(&mut socket, 3, b"x").await.0, INVALID);
        assert_eq!(ask(&mut socket, 8, b"x").await.0, INVALID);
        assert_eq!(ask(&mut socket, 6, b"\0\0\0\x09a\0\0").await.0, INVALID);
        assert_eq!(ask(&mut socket, 7, b"\0\0\0\x01a\0\x01").await.0, INVALID);
        assert_eq!(ask(&mut socket, 7, b"\0\0\0\x01a\0\0x").await.0, INVALID);
        assert_eq!(ask(&mut socket, 2, &[]).await.0, ACK);
        assert_closed(&mut socket).await;
    });
}

#[test]
fn contexts_need_structured_replies_and_an_export() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        let mut socket = greeted(&sheep).await;
        let query = |name: &str, queries: &[&str]| {
            let count = (queries.len() as u32).to_be_bytes().to_vec();
            let queries = queries.iter().flat_map(|query| text(query)).collect();
            [text(name), count, queries].concat()
        };
        for number in [9, 10] {
            assert_eq!(ask(&mut socket, number, &query("a", &[])).await.0, INVALID);
        }
        assert_eq!(ask(&mut socket, 8, &[]).await.0, ACK);
        assert_eq!(ask(&mut socket, 9, &query("b", &[])).await.0, UNKNOWN);
        assert_eq!(ask(&mut socket, 10, &query("b", &["base:allocation"])).await.0, UNKNOWN);
        let listed = ask(&mut socket, 9, &query("a", &[])).await;
        assert_eq!(listed, (4, b"\0\0\0\0base:allocation".to_vec()));
        assert_eq!(reply(&mut socket, 9).await.0, ACK);
        assert_eq!(ask(&mut socket, 9, &query("a", &["qemu:"])).await.0, ACK);
        let set = ask(&mut socket, 10, &query("a", &["base:allocation"])).await;
        assert_eq!(set, (4, b"\0\0\0\x01base:allocation".to_vec()));
        assert_eq!(reply(&mut socket, 10).await.0, ACK);
        // Selecting again replaces: nothing is selected now, so the command is not announced.
        assert_eq!(ask(&mut socket, 10, &query("a", &["base:"])).await.0, ACK);
        socket.write_all(&option(1, b"a")).await.unwrap();
        socket.read_exact(&mut [0; 10]).await.unwrap();
        socket.write_all(&request(7, 0, 5, 0, 4096)).await.unwrap();
        assert_eq!(socket.read_u32().await.unwrap(), 0x668e_33ef);
        assert_eq!(socket.read_u32().await.unwrap(), 0x1_8001);
    });
}

#[test]
fn a_context_of_another_export_is_not_valid_here() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        sheep.cluster.create("b", 4096, None);
        let mut socket = greeted(&sheep).await;
        assert_eq!(ask(&mut socket, 8, &[]).await.0, ACK);
        let data = [text("a"), 1_u32.to_be_bytes().to_vec(), text("base:allocation")].concat();
        assert_eq!(ask(&mut socket, 10, &data).await.0, 4);
        assert_eq!(reply(&mut socket, 10).await.0, ACK);
        socket.write_all(&option(1, b"b")).await.unwrap();
        socket.read_exact(&mut [0; 10]).await.unwrap();
        socket.write_all(&request(7, 0, 5, 0, 4096)).await.unwrap();
        assert_eq!(socket.read_u32().await.unwrap(), 0x668e_33ef);
        assert_eq!(socket.read_u32().await.unwrap(), 0x1_8001);
    });
}

#[test]
fn export_name_answers_with_or_without_padding_or_by_closing() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 0x123_456, None);
        for (flags, padding) in [(0_u32, 124), (1, 124), (3, 0)] {
            let mut socket = sheep.raw().await;
            socket.read_exact(&mut [0; 18]).await.unwrap();
            socket.write_all(&flags.to_be_bytes()).await.unwrap();
            socket.write_all(&option(1, b"a")).await.unwrap();
            assert_eq!(socket.read_u64().await.unwrap(), 0x123_456);
            assert_eq!(socket.read_u16().await.unwrap(), 0b1_0110_1101);
            let mut zeros = vec![1; padding];
            socket.read_exact(&mut zeros).await.unwrap();
            assert!(zeros.iter().all(|byte| *byte == 0));
            socket.write_all(&request(3, 0, 77, 0, 0)).await.unwrap();
            assert_eq!(simple_reply(&mut socket).await, (77, 0));
        }
        let mut socket = greeted(&sheep).await;
        socket.write_all(&option(1, b"nothing")).await.unwrap();
        assert_closed(&mut socket).await;
    });
}

#[test]
fn a_client_that_breaks_the_handshake_is_cut_off() {
    run(async {
        let sheep = Sheep::start(1).await;
        let mut socket = sheep.raw().await;
        socket.read_exact(&mut [0; 18]).await.unwrap();
        socket.write_all(&0x8000_0003_u32.to_be_bytes()).await.unwrap();
        assert_closed(&mut socket).await; // G1
        let mut socket = greeted(&sheep).await;
        socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_closed(&mut socket).await;
        let mut socket = greeted(&sheep).await;
        socket.write_all(&option(3, &[])[..12]).await.unwrap();
        socket.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        assert_eq!(reply(&mut socket, 3).await.0, TOO_BIG);
        assert_closed(&mut socket).await;
    });
}

#[test]
fn a_handshake_that_arrives_byte_by_byte_is_understood() {
    run(async {
        let sheep = Sheep::start(1).await;
        sheep.cluster.create("a", 4096, None);
        let mut socket = greeted(&sheep).await;
        for byte in [option(8, &[]), option(7, &[text("a"), vec![0, 0]].concat())].concat() {
            socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(reply(&mut socket, 8).await.0, ACK);
        let (kind, data) = reply(&mut socket, 7).await;
        assert_eq!((kind, data.len()), (3, 12));
        assert_eq!(reply(&mut socket, 7).await.0, ACK);
    });
}
