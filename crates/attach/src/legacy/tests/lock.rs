//! Who may have a VDI open.

use std::time::{Duration, Instant};

use sheepdog_proto::legacy::Opcode;
use sheepdog_proto::legacy::header::{BASE_VID, LOCK_TYPE, REPLY_VID};
use sheepdog_proto::{Oid, Vid};

use super::client::{Client, LOCKED, OK, header, lock, read, release, write};
use super::memory::{HERE, Herd, run};
use crate::door::Face;
use crate::opener::{Origin, Sharing};

const MIB: u64 = 1 << 20;
const GRACE: Duration = Duration::from_secs(10);

/// What QEMU does: a silent connection for data, and another one only for the lock.
async fn qemu(herd: &Herd, name: &str) -> (u32, Client) {
    let data = Client::connect(herd);
    let mut control = Client::connect(herd);
    let got = control.ask(lock(name, 0)).await;
    (got.0, data)
}

fn first_write(vid: Vid) -> Vec<u8> {
    write(Opcode::CreateAndWriteObject, Oid::data(vid, 0), 0, &[1; 512])
}

#[test]
fn a_lock_outlives_the_connection_that_took_it() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let (code, mut data) = qemu(&herd, "lk").await;
        assert_eq!((code, herd.owner(vid)), (OK, Some(HERE)));
        assert_eq!(qemu(&herd, "lk").await.0, LOCKED, "while the data connection is silent");
        assert_eq!(data.ask(first_write(vid)).await.0, OK);
        assert_eq!(qemu(&herd, "lk").await.0, LOCKED, "while it is used");
        assert!(herd.sheep.openers.take_idle(Instant::now() + GRACE, GRACE).is_empty());
    });
}

#[test]
fn a_refused_lock_still_tells_the_vid() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let _holder = qemu(&herd, "lk").await;
        let mut client = Client::connect(&herd);
        client.send(lock("lk", 0)).await;
        let (reply, payload) = client.receive().await;
        assert_eq!((reply.result(), payload.len()), (LOCKED, 0));
        assert_eq!(reply.get(REPLY_VID), u64::from(vid.get()));
    });
}

#[test]
fn a_released_vdi_can_be_opened_again_at_once() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let (_, mut data) = qemu(&herd, "lk").await;
        assert_eq!(data.ask(first_write(vid)).await.0, OK);
        let mut control = Client::connect(&herd);
        // QEMU sends the name along, tgt does not; either is ignored.
        let with_name = super::client::carrying(Opcode::ReleaseVdi, b"lk\0");
        let head = with_name.0.with(BASE_VID, vid.get().into());
        assert_eq!(control.ask([head.0.as_slice(), b"lk\0"].concat()).await.0, OK);
        assert_eq!(herd.owner(vid), None);
        assert_eq!(qemu(&herd, "lk").await.0, OK);
        // What is not locked, or is no VDI, is released as well.
        for id in [0, 0x00ff_ffff, 0x0100_0000, u64::from(vid.get())] {
            let request = release(vid).with(BASE_VID, id).with(LOCK_TYPE, id % 3);
            assert_eq!(control.ask_header(request).await.0, OK);
        }
        assert_eq!(herd.owner(vid), None);
    });
}

#[test]
fn a_killed_client_makes_room_for_its_next_life() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let (_, mut data) = qemu(&herd, "lk").await;
        assert_eq!(data.ask(first_write(vid)).await.0, OK);
        drop(data);
        // Sent before the server can have read that the old connection is closed.
        let (code, data) = qemu(&herd, "lk").await;
        assert_eq!(code, OK);
        drop(data);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(herd.sheep.openers.is_known(vid), "until the grace time is over");
        assert_eq!(herd.sheep.openers.take_idle(Instant::now() + GRACE, GRACE), [vid]);
    });
}

#[test]
fn a_vdi_attached_through_another_sheep_is_locked() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        herd.attach_elsewhere(vid);
        assert_eq!(qemu(&herd, "lk").await.0, LOCKED);
        assert!(!herd.sheep.openers.is_known(vid));
        herd.sheep.lose(vid);
        assert_eq!(qemu(&herd, "lk").await.0, OK);
    });
}

#[test]
fn iscsi_targets_of_one_process_share_and_unknown_types_do_not() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let mut threads = [Client::connect(&herd), Client::connect(&herd)];
        for thread in &mut threads {
            assert_eq!(thread.ask(lock("lk", 1)).await.0, OK);
            assert_eq!(thread.ask(first_write(vid)).await.0, OK);
        }
        let mut third = Client::connect(&herd);
        assert_eq!(third.ask(lock("lk", 0)).await.0, LOCKED);
        assert_eq!(third.ask(lock("lk", 7)).await.0, LOCKED);
        assert_eq!(threads[0].ask(lock("lk", 7)).await.0, LOCKED);
    });
}

#[test]
fn what_another_client_holds_can_be_read_but_not_written() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(first_write(vid)).await.0, OK);
        assert_eq!(client.ask_header(release(vid)).await.0, OK);
        let openers = &herd.sheep.openers;
        for (face, origin) in
            [(Face::Legacy, Origin::Process(1)), (Face::Nbd, Origin::Process(std::process::id()))]
        {
            let holder = openers.connect(face, origin);
            openers.open_here(holder, vid, Sharing::Exclusive, Instant::now()).unwrap();
            assert_eq!(client.ask(first_write(vid)).await.0, LOCKED);
            assert_eq!(client.ask_header(read(Oid::data(vid, 0), 0, 512)).await.0, OK);
            assert_eq!(client.ask(first_write(vid)).await.0, LOCKED);
            let discard = header(Opcode::DiscardObject, 0)
                .with(sheepdog_proto::legacy::header::OID, Oid::data(vid, 0).get());
            assert_eq!(client.ask_header(discard).await.0, LOCKED);
            openers.disconnect(holder, Instant::now());
            assert_eq!(client.ask_header(release(vid)).await.0, OK);
        }
        assert_eq!(client.ask(first_write(vid)).await.0, OK);
    });
}

#[test]
fn requests_that_come_during_a_release_attach_anew_and_count_as_a_client() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(first_write(vid)).await.0, OK);
        herd.sheep.holding.set(true);
        client.send(release(vid).0).await;
        while herd.sheep.openers.is_known(vid) {
            tokio::task::yield_now().await;
        }
        client.send(first_write(vid)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(herd.sheep.submitted.borrow().len(), 1, "the second waits");
        herd.sheep.let_go();
        for _ in 0..2 {
            assert_eq!(client.receive().await.0.result(), OK);
        }
        assert_eq!(herd.owner(vid), Some(HERE));
        assert!(herd.sheep.openers.holder(vid).is_some(), "else it would stay attached for ever");
    });
}

/// A client that was killed while its connection was so full that nobody reads from it.
async fn killed_when_full(herd: &Herd, vid: Vid) {
    let (_, mut data) = qemu(herd, "lk").await;
    assert_eq!(data.ask(first_write(vid)).await.0, OK);
    herd.sheep.holding.set(true);
    for _ in 0..5 {
        data.send(read(Oid::data(vid, 0), 0, 4 << 20).0).await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_killed_client_with_requests_in_flight_makes_room_too() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        killed_when_full(&herd, vid).await;
        assert_eq!(qemu(&herd, "lk").await.0, OK);
    });
}

#[test]
fn that_a_full_connection_has_closed_is_noticed_without_reading() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        killed_when_full(&herd, vid).await;
        for _ in 0..200 {
            if herd.sheep.openers.holder(vid).is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the dead client still counts");
    });
}

#[test]
fn a_client_that_was_evicted_and_goes_on_counts_again() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let mut client = Client::connect(&herd);
        assert_eq!(client.ask(first_write(vid)).await.0, OK);
        herd.sheep.openers.release(vid);
        herd.sheep.lose(vid);
        assert_eq!(client.ask(first_write(vid)).await.0, OK);
        assert_eq!(herd.owner(vid), Some(HERE));
        assert!(herd.sheep.openers.holder(vid).is_some(), "else it would stay attached for ever");
    });
}

#[test]
fn a_lock_for_a_client_that_has_gone_already_is_not_taken() {
    run(async {
        let herd = Herd::formatted(1);
        let vid = herd.make("lk", 16 * MIB);
        let mut socket = herd.connect(0);
        std::io::Write::write_all(&mut socket, &lock("lk", 0)).unwrap();
        drop(socket);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!herd.sheep.openers.is_known(vid));
        assert_eq!(herd.owner(vid), None, "nobody would ever release it");
    });
}
