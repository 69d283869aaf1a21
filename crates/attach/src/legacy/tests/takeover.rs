//! STREAM-TAKEOVER: what a closed connection left behind never runs after what came later.

use std::io::Write;
use std::os::unix::net::UnixStream;

use sheepdog_engine::volume::Operation;
use sheepdog_proto::legacy::header::ID;
use sheepdog_proto::legacy::{Opcode, RequestHeader};
use sheepdog_proto::{Oid, Vid};
use tokio::io::AsyncWriteExt;

use super::client::{Client, NO_OBJECT, OK, header, lock, read, write};
use super::memory::{Herd, run};

const MIB: u64 = 1 << 20;

fn create(vid: Vid, fill: u8, id: u64) -> Vec<u8> {
    let data = vec![fill; 4096];
    let mut bytes = write(Opcode::CreateAndWriteObject, Oid::data(vid, 0), 0, &data);
    let head = RequestHeader::parse(&bytes).unwrap().with(ID, id);
    bytes[..48].copy_from_slice(&head.0);
    bytes
}

async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn writes(herd: &Herd) -> usize {
    let submitted = herd.sheep.submitted.borrow();
    submitted.iter().filter(|(_, o)| matches!(o, Operation::Write { .. })).count()
}

#[test]
fn a_duplicate_left_unread_in_a_closed_connection_does_not_run() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        // The old connection was accepted, but nobody has read from it yet.
        let (mut old, server_end) = UnixStream::pair().unwrap();
        old.write_all(&create(vid, 1, 10)).unwrap();
        drop(old);
        // The client sends the same again through a new connection, then something newer.
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(create(vid, 1, 10)).await.0, OK);
        assert_eq!(client.ask(create(vid, 2, 11)).await.0, OK);
        herd.serve(0, server_end);
        settle().await;
        assert_eq!(herd.stored(vid, 0, 1), [2], "L2");
        assert_eq!(writes(&herd), 2);
    });
}

#[test]
fn what_waits_for_room_when_the_client_closes_does_not_run() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 64 * MIB);
        let mut old = Client::connect(&herd);
        assert_eq!(old.ask(create(vid, 1, 0)).await.0, OK);
        // Reads of whole objects fill the connection, so that the write behind them stays unread.
        herd.sheep.holding.set(true);
        for id in 1..=3 {
            old.send(read(Oid::data(vid, 0), 0, 4 << 20).with(ID, id).0).await;
        }
        old.send(read(Oid::data(vid, 0), 0, 4 << 20).with(ID, 4).0).await;
        old.send(create(vid, 7, 9)).await;
        settle().await;
        assert_eq!(writes(&herd), 1);
        // Closed for sending; replies can still leave, so that there will be room.
        old.stream.shutdown().await.unwrap();
        herd.sheep.holding.set(false);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(create(vid, 7, 9)).await.0, OK);
        assert_eq!(client.ask(create(vid, 8, 10)).await.0, OK);
        herd.sheep.let_go();
        for _ in 0..4 {
            assert_eq!(old.receive().await.1.len(), 4 << 20);
        }
        assert!(old.is_closed().await);
        assert_eq!(herd.stored(vid, 0, 1), [8], "L2");
    });
}

#[test]
fn a_connection_on_its_way_between_shards_is_looked_at_again() {
    run(async {
        let herd = Herd::formatted(2);
        let vid = herd.make("t1", 16 * MIB);
        let right = vid.get() as usize % 2;
        let mut old = herd.connect(1 - right);
        old.write_all(&create(vid, 1, 10)).unwrap();
        // Until the hand-over has been asked for, but not been served.
        while herd.sheep.hand_overs.get() == 0 {
            tokio::task::yield_now().await;
        }
        drop(old);
        settle().await;
        let mut client = Client::connect_to(&herd, right);
        assert_eq!(client.ask(create(vid, 2, 11)).await.0, OK);
        settle().await;
        assert_eq!(herd.stored(vid, 0, 1), [2], "L2");
    });
}

#[test]
fn requests_read_in_time_run_before_those_of_the_next_connection() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut old = Client::connect(&herd);
        old.send(create(vid, 1, 10)).await;
        old.send(create(vid, 2, 11)).await;
        while writes(&herd) < 2 {
            tokio::task::yield_now().await;
        }
        drop(old);
        // The client, which got no replies, sends both again.
        let mut client = Client::connect(&herd);
        for (fill, id) in [(1, 10), (2, 11), (3, 12)] {
            assert_eq!(client.ask(create(vid, fill, id)).await.0, OK);
        }
        settle().await;
        assert_eq!(herd.stored(vid, 0, 1), [3]);
    });
}

#[test]
fn a_lost_attachment_brings_no_request_of_a_closed_connection_back() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut old = Client::connect(&herd);
        assert_eq!(old.ask(create(vid, 1, 0)).await.0, OK);
        herd.sheep.holding.set(true);
        herd.sheep.lose(vid);
        old.send(create(vid, 6, 1)).await; // Fenced, but that is not told yet.
        settle().await;
        drop(old);
        herd.sheep.holding.set(false);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(lock("t1", 0)).await.0, OK);
        assert_eq!(client.ask(create(vid, 6, 1)).await.0, OK);
        assert_eq!(client.ask(create(vid, 7, 2)).await.0, OK);
        herd.sheep.let_go();
        settle().await;
        assert_eq!(herd.stored(vid, 0, 1), [7], "Q2");
    });
}

#[test]
fn a_write_behind_a_question_is_not_overtaken() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask_header(header(Opcode::GetClusterDefault, 0)).await.0, OK);
        herd.sheep.holding.set(true);
        let object = Oid::data(vid, 0);
        // It is not known whether the object exists: this waits for the answer, and so do those
        // behind it, the create as well.
        client.send(write(Opcode::WriteObject, object, 0, &[1; 512])).await;
        settle().await;
        client.send(create(vid, 2, 1)).await;
        client.send(read(object, 0, 1).with(ID, 2).0).await;
        settle().await;
        assert_eq!(writes(&herd), 0, "Q1");
        herd.sheep.let_go();
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (reply, payload) = client.receive().await;
            ends.push((reply.get(ID), reply.result(), payload));
        }
        ends.sort();
        assert_eq!(ends, [(0, NO_OBJECT, vec![]), (1, OK, vec![]), (2, OK, vec![2])]);
    });
}

#[test]
fn a_client_that_dies_between_create_and_map_update_goes_on_where_it_was() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("t1", 16 * MIB);
        let mut first = Client::connect(&herd);
        assert_eq!(first.ask(create(vid, 1, 0)).await.0, OK);
        drop(first);
        let mut second = Client::connect(&herd);
        assert_eq!(second.ask(create(vid, 1, 0)).await.0, OK);
        let own = vid.get().to_le_bytes();
        let (_, entry) = second.ask_header(read(Oid::map(vid, 0), 4664, 4)).await;
        assert_eq!(entry, own, "known before the client says so");
        let update = write(Opcode::WriteObject, Oid::map(vid, 0), 4664, &own);
        assert_eq!(second.ask(update).await.0, OK);
        assert_eq!(herd.stored(vid, 0, 1), [1]);
    });
}
