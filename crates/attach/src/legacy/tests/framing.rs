//! Bytes in, bytes out: whatever the pieces they come in, however wrong they are.

use sheepdog_proto::legacy::header::{DATA_LENGTH, FLAGS, ID, OPCODE, RESULT, VERSION};
use sheepdog_proto::legacy::{Flags, OBJECT_BYTES_MAX, Opcode, RequestHeader, ResultCode};
use sheepdog_proto::{Oid, Vid};
use tokio::io::AsyncWriteExt;

use super::client::{
    Client, INVALID, NO_OBJECT, OK, carrying, header, lookup, new_vdi, numbered, read, write,
};
use super::memory::{Herd, run, vid_of};
use crate::legacy::connection::IN_FLIGHT_BYTES_MAX;

const MIB: u64 = 1 << 20;
const VERSION_MISMATCH: u32 = ResultCode::VersionMismatch.get();

fn data(vid: Vid, index: u32) -> Oid {
    Oid::data(vid, index)
}

async fn is_served(client: &mut Client) -> bool {
    client.ask_header(header(Opcode::GetClusterDefault, 0)).await.0 == OK
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn silent_half_and_closed_connections_do_not_disturb_others() {
    run(async {
        let herd = Herd::formatted(1);
        let mut silent = Client::connect(&herd);
        drop(Client::connect(&herd));
        let half_header = header(Opcode::GetClusterDefault, 0).0[..20].to_vec();
        let name = lookup(Opcode::GetVdiInfo, "t1", "", 0);
        let large = write(Opcode::WriteObject, data(vid_of("t1"), 0), 0, &vec![1; 1 << 20]);
        for bytes in [&half_header[..], &name[..300], &large[..70_000]] {
            let mut partial = Client::connect(&herd);
            partial.send(bytes).await;
            settle().await;
            assert!(is_served(&mut silent).await);
            // The end of input in the middle of a message is the end, without a reply.
            partial.stream.shutdown().await.unwrap();
            assert!(partial.is_closed().await);
        }
        assert!(is_served(&mut silent).await);
        assert!(herd.sheep.submitted.borrow().is_empty());
    });
}

#[test]
fn versions_and_opcodes_are_checked_and_payloads_consumed() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        let default = header(Opcode::GetClusterDefault, 0);
        for version in [0, 1, 2] {
            assert_eq!(client.ask_header(default.with(VERSION, version)).await.0, OK);
        }
        for version in [3, 10, 255] {
            let got = client.ask_header(default.with(VERSION, version)).await;
            assert_eq!(got.0, VERSION_MISMATCH);
        }
        // Opcode and version against the code; each carries a payload that must be consumed.
        for (opcode, version, code) in [
            (0x00, 0, INVALID),
            (0x7f, 2, INVALID),
            (0x19, 1, INVALID),
            (0x82, 1, VERSION_MISMATCH),
            (0x82, 10, INVALID),
            (0xff, 10, INVALID),
        ] {
            let (head, payload) = carrying(Opcode::NewVdi, &[0x5a; 100]);
            let head = head.with(OPCODE, opcode).with(VERSION, version);
            let got = client.ask([head.0.as_slice(), &payload].concat()).await;
            assert_eq!(got.0, code, "opcode {opcode:#x} version {version}");
            assert!(is_served(&mut client).await);
        }
    });
}

#[test]
fn without_the_write_flag_no_payload_follows() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask_header(header(Opcode::GetVdiInfo, 512)).await.0, INVALID);
        assert_eq!(client.ask_header(header(Opcode::NewVdi, 256)).await.0, INVALID);
        assert!(is_served(&mut client).await);
    });
}

#[test]
fn pipelined_requests_are_answered_with_their_ids_even_if_equal() {
    run(async {
        let herd = Herd::formatted(1);
        let mut client = Client::connect(&herd);
        let ids = [7, 7, 9];
        let default = header(Opcode::GetClusterDefault, 0);
        let all: Vec<u8> = ids.iter().flat_map(|id| numbered(default, *id, 1).0).collect();
        client.send(all).await;
        for id in ids {
            let (reply, _) = client.receive().await;
            let opcode = u64::from(Opcode::GetClusterDefault.get());
            assert_eq!((reply.get(ID), reply.get(OPCODE)), (id, opcode));
        }
    });
}

#[test]
fn replies_come_in_any_order_and_are_not_interleaved() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        for index in 0..3_u32 {
            let bytes = vec![index as u8 + 1; MIB as usize];
            let create = write(Opcode::CreateAndWriteObject, data(vid, index), 0, &bytes);
            assert_eq!(client.ask(create).await.0, OK);
        }
        herd.sheep.holding.set(true);
        for index in 0..3 {
            let request = read(data(vid, index), 0, MIB as usize).with(ID, index.into());
            client.send(request.0).await;
        }
        settle().await;
        herd.sheep.let_go(); // The newest first.
        for id in [2_u64, 1, 0] {
            let (reply, payload) = client.receive().await;
            assert_eq!((reply.get(ID), payload.len()), (id, MIB as usize));
            assert!(payload.iter().all(|byte| u64::from(*byte) == id + 1));
        }
    });
}

#[test]
fn requests_may_arrive_in_any_pieces() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut bytes = Vec::new();
        let patterns: Vec<Vec<u8>> = [5, 4096, 16 << 10, (16 << 10) + 1, 300_000]
            .iter()
            .map(|len| (0..*len).map(|at| (at * 31 + len) as u8).collect())
            .collect();
        for (index, pattern) in patterns.iter().enumerate() {
            let oid = data(vid, index as u32 % 4);
            bytes.extend(write(Opcode::CreateAndWriteObject, oid, index as u32 * 4096, pattern));
        }
        for piece in [1 << 20, 70_001, 4095, 997] {
            let mut client = Client::connect(&herd);
            for part in bytes.chunks(piece) {
                client.send(part).await;
                tokio::task::yield_now().await;
            }
            for _ in &patterns {
                assert_eq!(client.receive().await.0.get(RESULT), 0);
            }
            for (index, pattern) in patterns.iter().enumerate() {
                let oid = data(vid, index as u32 % 4);
                let got = client.ask_header(read(oid, index as u32 * 4096, pattern.len())).await;
                assert_eq!(got, (OK, pattern.clone()), "pieces of {piece}");
            }
        }
    });
}

#[test]
fn a_small_request_can_come_byte_by_byte() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        for byte in write(Opcode::CreateAndWriteObject, data(vid, 0), 3, b"hello") {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.receive().await.0.get(RESULT), 0);
        assert_eq!(herd.stored(vid, 0, 10), b"\0\0\0hello\0\0");
    });
}

#[test]
fn a_length_beyond_what_is_legal_closes_the_connection() {
    run(async {
        let herd = Herd::formatted(1);
        herd.make("t1", 16 * MIB);
        let too_long = OBJECT_BYTES_MAX + 1;
        let written = RequestHeader::new(Opcode::WriteObject, Flags::WRITE, 0, too_long);
        let requests = [
            written,
            written.with(DATA_LENGTH, u32::MAX.into()),
            RequestHeader::new(Opcode::LockVdi, Flags::WRITE, 0, 4097),
            RequestHeader::new(Opcode::LockVdi, Flags::WRITE, 0, 0).with(OPCODE, 0x82),
            header(Opcode::ReadObject, too_long as usize),
        ];
        for request in requests {
            let request = if request.get(OPCODE) == 0x82 {
                request.with(DATA_LENGTH, 4097).with(FLAGS, 1)
            } else {
                request
            };
            let mut client = Client::connect(&herd);
            client.send(request.0).await;
            assert!(client.is_closed().await, "{request}");
        }
        assert!(is_served(&mut Client::connect(&herd)).await);
    });
}

#[test]
fn nothing_beyond_the_end_of_an_object_is_read_or_written() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        for index in 0..2 {
            let create = write(Opcode::CreateAndWriteObject, data(vid, index), 0, &[7; 4096]);
            assert_eq!(client.ask(create).await.0, OK);
        }
        let end = 4 * MIB as u32;
        assert_eq!(client.ask_header(read(data(vid, 0), end - 512, 512)).await.0, OK);
        assert_eq!(client.ask_header(read(data(vid, 0), end - 512, 513)).await.0, INVALID);
        assert_eq!(client.ask_header(read(data(vid, 0), end, 1)).await.0, INVALID);
        assert_eq!(client.ask_header(read(data(vid, 0), u32::MAX, 4096)).await.0, INVALID);
        let over = write(Opcode::WriteObject, data(vid, 0), end - 4, b"overlap!");
        assert_eq!(client.ask(over).await.0, INVALID);
        assert_eq!(herd.stored(vid, u64::from(end), 4), [7; 4]);
        let inode = Oid::map(vid, 0);
        assert_eq!(client.ask_header(read(inode, 12_587_575, 2)).await.0, INVALID);
        assert_eq!(client.ask_header(read(inode, 12_587_575, 1)).await, (OK, vec![0]));
    });
}

#[test]
fn requests_of_length_zero_succeed_where_the_object_exists() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        let nothing = write(Opcode::WriteObject, data(vid, 0), 0, &[]);
        assert_eq!(client.ask(&nothing).await.0, NO_OBJECT);
        assert_eq!(client.ask_header(read(data(vid, 0), 0, 0)).await.0, NO_OBJECT);
        let create = write(Opcode::CreateAndWriteObject, data(vid, 0), 0, &[7; 512]);
        assert_eq!(client.ask(create).await.0, OK);
        assert_eq!(client.ask(&nothing).await.0, OK);
        assert_eq!(client.ask_header(read(data(vid, 0), 0, 0)).await, (OK, vec![]));
        let end = 4 * MIB as u32;
        assert_eq!(client.ask_header(read(data(vid, 0), end, 0)).await.0, OK);
        assert_eq!(client.ask_header(read(data(vid, 3), end, 0)).await.0, NO_OBJECT);
        // As QEMU does when there is no map entry left to clear.
        let cleared = write(Opcode::WriteObject, Oid::map(vid, 0), 4664 + 4 * 4, &[]);
        assert_eq!(client.ask(cleared).await.0, OK);
        assert_eq!(herd.object_count(vid), 1);
    });
}

#[test]
fn a_client_that_sends_too_much_is_not_read_until_replies_have_left() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 64 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(new_vdi("other", MIB, &[])).await.0, OK);
        herd.sheep.holding.set(true);
        let bytes = vec![3; 4 * MIB as usize];
        let (mut reader, mut writer) = client.stream.into_split();
        let sending = tokio::task::spawn_local(async move {
            for index in 0..10 {
                let create = write(Opcode::CreateAndWriteObject, data(vid, index), 0, &bytes);
                writer.write_all(&create).await.unwrap();
            }
            writer
        });
        for _ in 0..2000 {
            tokio::task::yield_now().await;
        }
        // Each request counts its header too.
        let taken = herd.sheep.submitted.borrow().len() as u64;
        assert_eq!(taken, IN_FLIGHT_BYTES_MAX as u64 / (4 * MIB + 48), "L4");
        assert!(!sending.is_finished());
        herd.sheep.let_go();
        let mut replies = vec![0; 10 * 48];
        tokio::io::AsyncReadExt::read_exact(&mut reader, &mut replies).await.unwrap();
        sending.await.unwrap();
        assert_eq!(herd.object_count(vid), 10);
    });
}

#[test]
fn a_client_that_does_not_read_its_replies_is_not_read_either() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 64 * MIB);
        let mut client = Client::connect(&herd);
        let bytes = vec![3; 4 * MIB as usize];
        let create = write(Opcode::CreateAndWriteObject, data(vid, 0), 0, &bytes);
        assert_eq!(client.ask(create).await.0, OK);
        herd.sheep.submitted.borrow_mut().clear();
        for id in 0..20 {
            client.send(read(data(vid, 0), 0, bytes.len()).with(ID, id).0).await;
        }
        settle().await;
        assert!(herd.sheep.submitted.borrow().len() < 10, "L4");
        for _ in 0..20 {
            assert_eq!(client.receive().await.1, bytes);
        }
    });
}
