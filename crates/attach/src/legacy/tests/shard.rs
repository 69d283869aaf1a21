//! Connections that move to the shard of their VDI.

use std::time::Duration;

use sheepdog_proto::legacy::Opcode;
use sheepdog_proto::legacy::header::ID;
use sheepdog_proto::{Oid, Vid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Client, OK, header, lock, lookup, new_vdi, read, release, write};
use super::memory::{Herd, run};
use crate::door::{Face, Socket};
use crate::opener::Origin;

const MIB: u64 = 1 << 20;
const SHARDS: usize = 3;

/// A VDI whose shard is `shard`.
fn vdi_of_shard(herd: &Herd, shard: usize) -> (String, Vid) {
    let names = (0..).map(|number| format!("vm{number}"));
    let mut fitting =
        names.filter(|name| Vid::hash_of_name(name.as_bytes()).get() as usize % SHARDS == shard);
    let name = fitting.next().unwrap();
    let vid = herd.make(&name, 16 * MIB);
    (name, vid)
}

fn create(vid: Vid, data: &[u8]) -> Vec<u8> {
    write(Opcode::CreateAndWriteObject, Oid::data(vid, 0), 0, data)
}

#[test]
fn the_first_request_for_a_vdi_takes_the_connection_to_its_shard() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        for shard in 0..SHARDS {
            let (name, vid) = vdi_of_shard(&herd, shard);
            let large = vec![7; 300_000];
            for first in [
                lock(&name, 0),
                create(vid, &[1; 512]),
                create(vid, &large),
                read(Oid::map(vid, 0), 0, 4668).0.to_vec(),
                write(Opcode::WriteObject, Oid::map(vid, 0), 0, &[0; 4664]),
                release(vid).0.to_vec(),
                lookup(Opcode::DeleteVdi, &name, "", 0),
            ] {
                herd.sheep.hand_overs.set(0);
                let mut client = Client::connect_to(&herd, (shard + 1) % SHARDS);
                // More behind it goes along, unread.
                let second = header(Opcode::GetClusterDefault, 0).with(ID, 5);
                client.send([first.as_slice(), &second.0].concat()).await;
                for _ in 0..2 {
                    assert_eq!(client.receive().await.0.result(), OK);
                }
                assert_eq!(herd.sheep.hand_overs.get(), 1);
            }
        }
    });
}

#[test]
fn what_any_shard_can_answer_moves_nothing() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        let vdis: Vec<_> = (0..SHARDS).map(|shard| vdi_of_shard(&herd, shard)).collect();
        let mut client = Client::connect_to(&herd, 0);
        for (name, vid) in &vdis {
            // A list of snapshots reads the headers of many.
            assert_eq!(client.ask_header(read(Oid::map(*vid, 0), 0, 4664)).await.0, OK);
            assert_eq!(client.ask(lookup(Opcode::GetVdiInfo, name, "", 0)).await.0, OK);
        }
        assert_eq!(client.ask(new_vdi("another", MIB, &[])).await.0, OK);
        assert_eq!(client.ask_header(header(Opcode::ReadVdis, 1 << 21)).await.0, OK);
        assert_eq!(herd.sheep.hand_overs.get(), 0);
    });
}

#[test]
fn a_second_vdi_waits_for_the_replies_of_the_first() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        let (_, first) = vdi_of_shard(&herd, 0);
        let (_, second) = vdi_of_shard(&herd, 1);
        let mut client = Client::connect_to(&herd, 0);
        assert_eq!(client.ask(create(first, &[1; 512])).await.0, OK);
        herd.sheep.holding.set(true);
        let requests: Vec<u8> = (0..4)
            .flat_map(|id| read(Oid::data(first, 0), 0, 512).with(ID, id).0)
            .chain(create(second, &[2; 512]))
            .chain(create(first, &[3; 512]))
            .collect();
        client.send(requests).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(herd.sheep.hand_overs.get(), 0, "while something is in flight");
        herd.sheep.let_go();
        let mut ids = Vec::new();
        for _ in 0..6 {
            let (reply, _) = client.receive().await;
            assert_eq!(reply.result(), OK);
            ids.push(reply.get(ID));
        }
        assert_eq!(ids, [3, 2, 1, 0, 0, 0], "the last two after the others");
        assert_eq!(herd.sheep.hand_overs.get(), 2);
        assert_eq!(herd.stored(second, 0, 512), [2; 512]);
        assert_eq!(herd.stored(first, 0, 512), [3; 512]);
    });
}

#[test]
fn a_moved_connection_is_still_the_same_client() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        let (name, vid) = vdi_of_shard(&herd, 2);
        let mut client = Client::connect_to(&herd, 0);
        assert_eq!(client.ask(lock(&name, 0)).await.0, OK);
        assert_eq!(client.ask(create(vid, &[1; 512])).await.0, OK);
        assert!(herd.sheep.openers.holder(vid).is_some());
        drop(client);
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(herd.sheep.openers.holder(vid).is_none());
    });
}

#[test]
fn tcp_is_served_like_a_unix_socket() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        let number = herd.sheep.openers.connect(Face::Legacy, Origin::Host(from.ip()));
        let socket = Socket::Tcp(accepted.into_std().unwrap());
        let serve = herd.shards[0].clone().serve(socket, Vec::new(), number);
        tokio::task::spawn_local(serve);
        let data: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
        client.write_all(&create(vid, &data)).await.unwrap();
        client.write_all(&read(Oid::data(vid, 0), 0, data.len()).0).await.unwrap();
        let mut replies = vec![0; 48 + 48 + data.len()];
        client.read_exact(&mut replies).await.unwrap();
        assert_eq!(replies[96..], data);
        assert!(herd.sheep.openers.holder(vid).is_some());
    });
}

#[test]
fn a_client_that_dies_before_it_can_move_is_noticed() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        let (_, first) = vdi_of_shard(&herd, 0);
        let (_, second) = vdi_of_shard(&herd, 1);
        let mut client = Client::connect_to(&herd, 0);
        assert_eq!(client.ask(create(first, &[1; 512])).await.0, OK);
        herd.sheep.holding.set(true);
        let held = read(Oid::data(first, 0), 0, 512);
        client.send([held.0.as_slice(), &create(second, &[2; 512])].concat()).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        drop(client);
        for _ in 0..200 {
            if herd.sheep.openers.holder(first).is_none() {
                assert_eq!(herd.sheep.hand_overs.get(), 0);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the dead client still counts");
    });
}

#[test]
fn a_vdi_made_while_a_large_write_to_its_vid_arrives_does_not_lose_the_connection() {
    run(async {
        let herd = Herd::formatted(SHARDS);
        let vid = Vid::hash_of_name(b"late");
        let other = (vid.get() as usize + 1) % SHARDS;
        let mut client = Client::connect_to(&herd, other);
        let bytes = create(vid, &[9; 100_000]);
        client.send(&bytes[..50_000]).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(herd.make("late", 16 * MIB), vid);
        client.send(&bytes[50_000..]).await;
        assert_eq!(client.receive().await.0.result(), OK);
        assert_eq!(herd.stored(vid, 0, 100_000), [9; 100_000]);
    });
}
